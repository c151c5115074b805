package main

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// month is 30 days.
	month = 30 * day
	year  = 365 * day
)

// epoch is where simulated time begins: a midnight, so that days, hours and the
// intervals of rule groups begin with it.
var epoch = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// answer is one survey response, good or bad.
type answer struct {
	// at is the time since the epoch.
	at  time.Duration
	bad bool
}

// mood is the share of bad answers at a time since the epoch.
type mood func(at time.Duration) float64

func always(share float64) mood {
	return func(time.Duration) float64 { return share }
}

// spell is one share of bad answers, and another one from a moment until another.
func spell(usual, meanwhile float64, from, until time.Duration) mood {
	return func(at time.Duration) float64 {
		if at >= from && at < until {
			return meanwhile
		}
		return usual
	}
}

// busy is the rate of answers at a time of day, relative to the mean of the day: next
// to nothing at four in the morning, and twice the mean at four in the afternoon.
func busy(at time.Duration) float64 {
	return 1 - 0.95*math.Cos(2*math.Pi*(at-4*time.Hour).Hours()/24)
}

// busiest is the maximum of busy.
const busiest = 1.95

// answers lets a time pass: arrivals are a Poisson process whose rate varies over the
// day (Lewis and Shedler 1979, "Simulation of nonhomogeneous Poisson processes by
// thinning").
func answers(random *rand.Rand, perDay float64, bad mood, length time.Duration) []answer {
	all := make([]answer, 0, int(perDay*length.Hours()/24*1.1)+16)
	gap := float64(day) / (perDay * busiest)
	at := 0.0
	for {
		at += random.ExpFloat64() * gap
		if at >= float64(length) {
			return all
		}
		now := time.Duration(at)
		if random.Float64()*busiest <= busy(now) {
			all = append(all, answer{now, random.Float64() < bad(now)})
		}
	}
}

// daily is exactly one answer a day, each at its own time of day.
func daily(random *rand.Rand, bad float64, length time.Duration) []answer {
	var all []answer
	for at := time.Duration(0); at < length; at += day {
		all = append(all, answer{at + time.Duration(random.Float64()*float64(day)), random.Float64() < bad})
	}
	return all
}

// seeded makes chance that depends on nothing but the seed and on what it is for, so
// that neither the order of the work nor other scenarios change it.
func seeded(seed uint64, what string, repetition int) *rand.Rand {
	hash := fnv.New64a()
	hash.Write([]byte(what))
	return rand.New(rand.NewPCG(seed^hash.Sum64(), uint64(repetition)))
}
