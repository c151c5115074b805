package story

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWriteTable(t *testing.T) {
	table := &metav1.Table{
		ColumnDefinitions: []metav1.TableColumnDefinition{
			{Name: "Name"}, {Name: "Ready"}, {Name: "Owner", Priority: 1}, {Name: "Stages"}, {Name: "Measured by"},
		},
		Rows: []metav1.TableRow{
			{Cells: []any{"online-purchase", "True", "marketing", float64(5), []any{"Probe", "Survey"}}},
			{Cells: []any{"结账", nil, "payments", float64(12)}},
		},
	}
	var text strings.Builder
	if err := WriteTable(&text, table); err != nil {
		t.Fatal(err)
	}
	want := `NAME              READY    STAGES   MEASURED BY
online-purchase   True     5        Probe,Survey
结账                <none>   12       <none>
`
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
}

func TestNarratorIsPlainWithoutTerminal(t *testing.T) {
	var text strings.Builder
	narrator := NewNarrator(&text)
	narrator.Good("all %s", "well")
	narrator.Heading("Part two")
	if strings.Contains(text.String(), "\x1b") || !strings.HasSuffix(text.String(), "  all well\n\nPart two\n") {
		t.Errorf("said %q", text.String())
	}
}
