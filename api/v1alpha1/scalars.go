package v1alpha1

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time such as "300ms", "30s", "1h30m" or "28d": up to
// four whole numbers, each with a unit of ms, s, m, h or d (24 hours).
//
// It is a string with a pattern, not metav1.Duration: that one lets the API
// server store "5 minutes", which then breaks every typed informer of every
// tenant. Whatever admission accepts here, Value can decode.
//
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(ms|s|m|h|d)){1,4}$`
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:MinLength=2
type Duration string

var durationUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// Value returns the length of time. The largest text that admission accepts
// exceeds what a time.Duration can hold; such a value is the longest Duration
// instead, about 292 years. An error means that the text never passed admission.
func (d Duration) Value() (time.Duration, error) {
	rest, total := string(d), time.Duration(0)
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		tail := rest[digits:]
		letters := len(tail) - len(strings.TrimLeft(tail, "mshd"))
		unit, known := durationUnits[tail[:letters]]
		number, err := strconv.Atoi(rest[:digits])
		if err != nil || !known {
			return 0, fmt.Errorf("%q is no duration: write whole numbers with the units ms, s, m, h or d, such as 300ms or 28d", string(d))
		}
		part := time.Duration(number) * unit
		if total > math.MaxInt64-part {
			return math.MaxInt64, nil
		}
		total, rest = total+part, tail[letters:]
	}
	return total, nil
}

// Percentage is a share between 0 and 100 percent, such as "99.9%".
//
// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
// +kubebuilder:validation:MaxLength=8
// +kubebuilder:validation:MinLength=2
type Percentage string

// Value returns the share as a number, 0.999 for "99.9%". An error means that
// the text never passed admission.
func (p Percentage) Value() (float64, error) { return percent(string(p)) }

// SignedPercentage is a difference of two shares, between -100 and 100 percent,
// such as "-5%" or "42.5%".
//
// +kubebuilder:validation:Pattern=`^-?(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
// +kubebuilder:validation:MaxLength=9
// +kubebuilder:validation:MinLength=2
type SignedPercentage string

// Value returns the difference as a number, -0.05 for "-5%". An error means
// that the text never passed admission.
func (p SignedPercentage) Value() (float64, error) { return percent(string(p)) }

func percent(text string) (float64, error) {
	number, hasSign := strings.CutSuffix(text, "%")
	// Shifting the decimal point in the text keeps "99.9%" at the float nearest
	// to 0.999; dividing by 100 would not.
	value, err := strconv.ParseFloat(number+"e-2", 64)
	if !hasSign || err != nil {
		return 0, fmt.Errorf(`%q is no percentage: write a number with a percent sign, such as "99.9%%"`, text)
	}
	return value, nil
}

// Score is a decimal number on the scale of an instrument, such as "5.5".
//
// +kubebuilder:validation:Pattern=`^[0-9]{1,2}(\.[0-9]{1,4})?$`
// +kubebuilder:validation:MaxLength=7
// +kubebuilder:validation:MinLength=1
type Score string

// Value returns the score as a number. An error means that the text never
// passed admission.
func (s Score) Value() (float64, error) {
	value, err := strconv.ParseFloat(string(s), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no score: write a decimal number, such as 5.5", string(s))
	}
	return value, nil
}
