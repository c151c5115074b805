package lint

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"channel", "class", "probe", "survey", "metrics"}
	for written, want := range map[string]string{
		"chanel": "channel", "prob": "probe", "suvrey": "survey", "metric": "metrics", "x": "", "colour": "", "": "", "CHANNEL": "",
	} {
		if got := nearest(written, names); got != want {
			t.Errorf("%s is taken for %q, not for %q", written, got, want)
		}
	}
}
