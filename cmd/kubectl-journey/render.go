package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// renderings are the forms of render: the form by which the manager would write, and what
// makes a text of one rule object.
var renderings = map[string]struct {
	form publish.Form
	text func(publish.Format, publish.Source, rules.Object) ([]byte, error)
}{
	"prometheusrule": {publish.PrometheusRules, func(format publish.Format, source publish.Source, object rules.Object) ([]byte, error) {
		text, err := publish.PrometheusRuleJSON(format.PrometheusRule(source, object))
		if err != nil {
			return nil, err
		}
		return yaml.JSONToYAML(text)
	}},
	"configmap": {publish.ConfigMaps, func(format publish.Format, source publish.Source, object rules.Object) ([]byte, error) {
		configMap, err := format.ConfigMap(source, object)
		if err != nil {
			return nil, err
		}
		return yaml.Marshal(configMap)
	}},
	"rules": {publish.ConfigMaps, func(_ publish.Format, _ publish.Source, object rules.Object) ([]byte, error) {
		return publish.RuleFile(object)
	}},
}

func renderCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		given  fileFlags
		output string
		folder string
	)
	c := &cobra.Command{
		Use:   "render FILE|FOLDER|- …",
		Short: "Writes the Prometheus rules that the manager would make of files",
		Long: `render writes what the manager would, to the byte, without a cluster: PrometheusRules,
ConfigMaps, or files that a Prometheus loads. Only the owner references of a
PrometheusRule are not there, because only a cluster knows the owner's UID.

Each namespace has rules that its objects share: render all of a namespace at once.
What admission would refuse is not rendered at all. What the controllers would
complain of is said on standard error, and the rest is rendered, as the manager would;
the exit code is 1 then.`,
		Example: `  # PrometheusRules.
  kubectl journey render -R config/ | kubectl apply --server-side -f -

  # One file that a Prometheus loads, or one for each rule object.
  kubectl journey render -R config/ -o rules > rules.yaml
  kubectl journey render -R config/ -o rules --output-dir rules/

  # As a manager would that was started with these flags.
  kubectl journey render -R config/ --rule-labels release=prometheus --enforce-namespace-label namespace`,
		Args: needFiles,
		RunE: func(c *cobra.Command, args []string) error {
			rendering, known := renderings[output]
			if !known {
				return fmt.Errorf("-o %s is none of prometheusrule, rules, configmap", output)
			}
			_, report, err := given.check(c.Context(), args, streams.In, rendering.form)
			if err != nil {
				return err
			}
			complaints := errorsOf(report.Findings)
			if err := writeFindings(streams.ErrOut, complaints); err != nil {
				return err
			}
			if !report.Admitted() {
				return codeError{errors.New("nothing is rendered of what admission would refuse"), exitFindings}
			}
			var sink func(publish.Source, rules.Object, []byte) error
			var end func() error
			switch {
			case folder != "":
				sink, end = intoFolder(folder)
			case output == "rules":
				sink, end = asOneFile(streams.Out)
			default:
				sink, end = asStream(streams.Out)
			}
			for _, decision := range report.Decisions {
				for _, object := range decision.Rules {
					text, err := rendering.text(given.operator.Format(), decision.Source, object)
					var tooLarge *publish.TooLargeError
					if errors.As(err, &tooLarge) {
						continue // the decision tells
					}
					if err == nil {
						err = sink(decision.Source, object, text)
					}
					if err != nil {
						return err
					}
				}
			}
			if err := end(); err != nil {
				return err
			}
			if len(complaints) > 0 {
				return codeError{errors.New(counted(len(complaints), "complaint") + "; rendered is the rest"), exitFindings}
			}
			return nil
		},
	}
	given.add(c)
	given.addNamespace(c)
	c.Flags().StringVarP(&output, "output", "o", "prometheusrule", "prometheusrule, rules or configmap")
	c.Flags().StringVar(&folder, "output-dir", "", "write a file for each rule object into this `folder`, <namespace>.<name>.yaml; default: standard output")
	return c
}

func errorsOf(findings []lint.Finding) []lint.Finding {
	var found []lint.Finding
	for _, finding := range findings {
		if finding.Level == lint.Error {
			found = append(found, finding)
		}
	}
	return found
}

// intoFolder writes each rule object into a file of its own.
func intoFolder(folder string) (func(publish.Source, rules.Object, []byte) error, func() error) {
	made := os.MkdirAll(folder, 0o777)
	return func(source publish.Source, object rules.Object, text []byte) error {
		if made != nil {
			return made
		}
		return os.WriteFile(filepath.Join(folder, source.Namespace+"."+object.Name+".yaml"), text, 0o666)
	}, func() error { return made }
}

// asStream writes YAML documents one after the other.
func asStream(out io.Writer) (func(publish.Source, rules.Object, []byte) error, func() error) {
	first := true
	return func(_ publish.Source, _ rules.Object, text []byte) error {
		if !first {
			text = append([]byte("---\n"), text...)
		}
		first = false
		_, err := out.Write(text)
		return err
	}, func() error { return nil }
}

// asOneFile puts the groups of all rule objects into one rule file. In a file the names of
// groups must differ: where there are several namespaces, they begin with theirs.
func asOneFile(out io.Writer) (func(publish.Source, rules.Object, []byte) error, func() error) {
	var all []monitoringv1.RuleGroup
	var from []string
	return func(source publish.Source, object rules.Object, _ []byte) error {
			for _, group := range object.Groups {
				all, from = append(all, group), append(from, source.Namespace)
			}
			return nil
		}, func() error {
			if len(all) == 0 {
				return nil
			}
			if len(slices.Compact(slices.Sorted(slices.Values(from)))) > 1 {
				for i := range all {
					all[i].Name = from[i] + "." + all[i].Name
				}
			}
			text, err := publish.RuleFile(rules.Object{Groups: all})
			if err != nil {
				return err
			}
			_, err = io.Copy(out, bytes.NewReader(text))
			return err
		}
}
