package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOpenSLO holds the commands to their outputs and exit codes; what is converted, the
// package's own tests hold.
func TestOpenSLO(t *testing.T) {
	const from = "internal/openslo/testdata/"
	out, errOut, err := run(t, "", "import", "openslo", from+"import.yaml", "-n", "shop")
	if exitCode(err) != exitFindings || strings.Count(out, "kind: ExperienceSLO") != 3 || !strings.Contains(errOut, from+"import.yaml:107:5: SLO/monthly spec.timeWindow[0]: left out: it follows the calendar") {
		t.Error(err, out, errOut)
	}
	if _, _, err := run(t, "", "import", "openslo", from+"import.yaml", "--partial"); err != nil {
		t.Error(err)
	}
	out, errOut, err = run(t, "", "import", "openslo", from+"import.yaml", "-o", "report")
	var report struct {
		Findings []struct {
			Object  string
			Line    int
			LeftOut bool
		}
	}
	if json.Unmarshal([]byte(out), &report) != nil || len(report.Findings) < 8 || report.Findings[0].Line == 0 || errOut != "" || exitCode(err) != exitFindings {
		t.Error(err, out, errOut)
	}
	for _, of := range []string{"xslo/all", "xslo/none", "all", "journey/none"} {
		out, errOut, err := run(t, "", "export", "openslo", of, "-f", from+"export.yaml", "-n", "shop")
		if of == "xslo/all" {
			if exitCode(err) != exitFindings || strings.Count(out, "kind: SLO") != 7 || !strings.Contains(errOut, "left out: a mean effort score of 5.5 on 1 to 7") {
				t.Error(err, out, errOut)
			}
			continue
		}
		if exitCode(err) != exitTrouble || out != "" {
			t.Error(of, err, out)
		}
	}
}
