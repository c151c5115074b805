// Package openslo has OpenSLO's own library read and check what kubectl journey exports.
package openslo

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/OpenSLO/go-sdk/pkg/openslosdk"
)

const testdata = "../../cmd/kubectl-journey/internal/openslo/testdata/"

// TestExported checks the golden file of all that can be exported.
func TestExported(t *testing.T) {
	text, err := os.ReadFile(testdata + "exported.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := openslosdk.Decode(bytes.NewReader(text), openslosdk.FormatYAML)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) < 5 {
		t.Fatal("hardly any object: ", len(objects))
	}
	if err := openslosdk.Validate(objects...); err != nil {
		t.Error(err)
	}
}

// TestImported checks that what the importer's test reads is OpenSLO in the first place.
func TestImported(t *testing.T) {
	text, err := os.ReadFile(testdata + "import.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := openslosdk.Decode(bytes.NewReader(text), openslosdk.FormatYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := openslosdk.Validate(objects...); err != nil {
		t.Error(err)
	}
}

// TestThatItCanFail shows that the library says no.
func TestThatItCanFail(t *testing.T) {
	text, err := os.ReadFile(testdata + "exported.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := regexp.MustCompile(`targetPercent: [0-9.]+`).ReplaceAllString(string(text), "targetPercent: 101")
	objects, err := openslosdk.Decode(strings.NewReader(wrong), openslosdk.FormatYAML)
	if err == nil {
		err = openslosdk.Validate(objects...)
	}
	if err == nil {
		t.Error("a target of 101 % was let pass")
	}
}
