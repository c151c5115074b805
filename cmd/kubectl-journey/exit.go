package main

import "errors"

// Exit codes. 0 says that all is well.
const (
	// exitFindings: the tool worked, and what it looked at is not as it should be.
	exitFindings = 1
	// exitTrouble: the tool could not do its work.
	exitTrouble = 2
)

// codeError is an error with an exit code of its own.
type codeError struct {
	error
	code int
}

func (e codeError) Unwrap() error { return e.error }

// exitCode is the code by which a process ends that failed with an error.
func exitCode(err error) int {
	var coded codeError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitTrouble
}
