package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/terminal"
)

func TestFollowDrawsAgainOnChange(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	var out strings.Builder
	d := &display{out: &out, color: "auto"}
	drawings := 0
	err := d.follow(ctx, changed, func(terminal.Options) (string, error) {
		drawings++
		switch drawings {
		case 1:
			changed <- struct{}{}
			return "first\n", nil
		case 2:
			changed <- struct{}{}
			return "", errors.New("the API server is away")
		case 3:
			changed <- struct{}{}
			return "second\n", nil
		default:
			cancel()
			return "", ctx.Err()
		}
	})
	if err != nil {
		t.Error(err)
	}
	// Without a terminal there are no escapes, and what could not be drawn is not repeated.
	if got := out.String(); got != "first\n\nsecond\n\n" {
		t.Errorf("%q", got)
	}
}

func TestFollowFailsIfNothingWasEverDrawn(t *testing.T) {
	d := &display{out: &strings.Builder{}, color: "auto"}
	err := d.follow(t.Context(), nil, func(terminal.Options) (string, error) { return "", errors.New("no journey") })
	if err == nil || err.Error() != "no journey" {
		t.Error(err)
	}
}

func TestColor(t *testing.T) {
	for color, want := range map[string]bool{"auto": false, "never": false, "always": true} {
		d := &display{out: &strings.Builder{}, color: color, width: 120}
		if got := d.options(); got.Color != want || got.Width != 120 {
			t.Errorf("%s: %+v", color, got)
		}
	}
}
