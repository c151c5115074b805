package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

func lintCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		given  fileFlags
		output string
		strict bool
	)
	c := &cobra.Command{
		Use:   "lint FILE|FOLDER|- …",
		Short: "Says what admission and the controllers would say of files",
		Long: `lint says what admission and the controllers would say of files, without a cluster:
unknown fields, values that the schema or its rules refuse, references to what is
not there, PromQL and probe expressions that do not parse, alerts that could never
fire, names that are used twice. It reads YAML and JSON, several documents in a file,
Lists, and what kustomize builds; objects of other kinds are passed over.

It exits with 1 if there is an error, and with --strict if there is a warning.`,
		Example: `  # Some files, or a folder and those below.
  kubectl journey lint checkout.yaml search.yaml
  kubectl journey lint -R config/

  # What kustomize builds.
  kubectl kustomize overlays/production | kubectl journey lint -

  # One team's part, which refers to touchpoints of others.
  kubectl journey lint --allow-missing team/*.yaml

  # For a code host that annotates changes.
  kubectl journey lint -R config/ -o sarif > lint.sarif`,
		Args: needFiles,
		RunE: func(c *cobra.Command, args []string) error {
			write, known := lintOutputs[output]
			if !known {
				return fmt.Errorf("-o %s is none of text, json, sarif", output)
			}
			set, report, err := given.check(c.Context(), args, streams.In, publish.PrometheusRules)
			if err != nil {
				return err
			}
			if err := write(streams.Out, report.Findings); err != nil {
				return err
			}
			errors, warnings := report.Count(lint.Error), report.Count(lint.Warning)
			summary := fmt.Sprintf("%s in %s: %s, %s, %s", counted(len(set.Documents), "object"), counted(len(set.Names), "file"),
				counted(errors, "error"), counted(warnings, "warning"), counted(report.Count(lint.Note), "note"))
			if errors > 0 || strict && warnings > 0 {
				return codeError{fmt.Errorf("%s", summary), exitFindings}
			}
			fmt.Fprintln(streams.ErrOut, summary)
			return nil
		},
	}
	given.add(c)
	given.addNamespace(c)
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or sarif")
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	return c
}

var lintOutputs = map[string]func(io.Writer, []lint.Finding) error{
	"text": writeFindings,
	"json": func(out io.Writer, findings []lint.Finding) error {
		if findings == nil {
			findings = []lint.Finding{}
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"findings": findings})
	},
	"sarif": func(out io.Writer, findings []lint.Finding) error {
		return lint.WriteSARIF(out, findings, process.Version(version))
	},
}

// writeFindings writes findings for people and for editors, which know the form of the
// first line of each.
func writeFindings(out io.Writer, findings []lint.Finding) error {
	for _, finding := range findings {
		object := finding.Object
		if object != "" {
			object += ": "
		}
		if _, err := fmt.Fprintf(out, "%s: %s: %s%s\n", finding.Position, finding.Level, object, finding.Message); err != nil {
			return err
		}
		if finding.Hint != "" {
			if _, err := fmt.Fprintf(out, "    hint: %s\n", finding.Hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
