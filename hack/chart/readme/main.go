// Command readme writes the chart's README.md: what intro.md says, and a table of the values
// with the comments that values.yaml has.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const chart = "../../charts/sojourn"

//go:embed intro.md
var intro string

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "readme:", err)
		os.Exit(1)
	}
}

func run() error {
	content, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(intro)
	text.WriteString("| value | default | |\n|---|---|---|\n")
	if err := table(&text, "", document.Content[0]); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(chart, "README.md"), []byte(text.String()), 0o644)
}

// table writes a line for each value, and one for each group that has a comment of its own.
func table(text *strings.Builder, path string, values *yaml.Node) error {
	for i := 0; i+1 < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name, about := path+key.Value, said(key.HeadComment)
		if value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 {
			if about != "" {
				fmt.Fprintf(text, "| **`%s`** | | %s |\n", name, about)
			}
			if err := table(text, name+".", value); err != nil {
				return err
			}
			continue
		}
		var plain any
		if err := value.Decode(&plain); err != nil {
			return err
		}
		defaults, err := json.Marshal(plain)
		if err != nil {
			return err
		}
		fmt.Fprintf(text, "| `%s` | `%s` | %s |\n", name, defaults, about)
	}
	return nil
}

// said makes one line of a comment. What stands before a blank line is about the file.
func said(comment string) string {
	if last := strings.LastIndex(comment, "\n\n"); last >= 0 {
		comment = comment[last+2:]
	}
	var words []string
	for line := range strings.Lines(comment) {
		words = append(words, strings.Fields(strings.TrimLeft(strings.TrimSpace(line), "#"))...)
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", `\|`)
}
