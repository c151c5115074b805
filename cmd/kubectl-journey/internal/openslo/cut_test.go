package openslo

import (
	"os"
	"testing"
)

// TestCut reads what is left of documents that were cut off anywhere, or lack a character.
func TestCut(t *testing.T) {
	text, err := os.ReadFile("testdata/import.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(text); i += 7 {
		_, _ = Import(string(text[:i]), Options{})
		_, _ = Import(string(text[:i])+string(text[i+1:]), Options{})
	}
}
