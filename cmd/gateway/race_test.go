//go:build race

package main

// shadowed says that every byte costs several more, for the data race detector.
const shadowed = true
