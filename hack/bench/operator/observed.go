package main

import "context"

type observedRow struct{}

func (b *bench) measureObserved(ctx context.Context, p platform) (*observedRow, error) {
	return nil, nil
}
