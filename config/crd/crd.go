// Package crd holds the definitions of the three kinds, as the API server takes them.
package crd

import "embed"

// Files are the definitions, one file for each kind.
//
//go:embed sojourn.dev_*.yaml
var Files embed.FS
