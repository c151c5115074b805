//go:build !unix

package main

import "time"

// processCPU cannot be told here: run the benchmark on Linux.
func processCPU() time.Duration { return 0 }
