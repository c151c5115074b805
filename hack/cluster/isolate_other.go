//go:build !linux

package cluster

import (
	"context"
	"errors"
)

// Isolate works on Linux only.
func Isolate(ctx context.Context, prepare, inside func(ctx context.Context, folder string) error) error {
	return errors.New("a cluster with Pods needs Linux")
}
