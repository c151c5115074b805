package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// renderings are the outputs of render, each with the form in which the manager would write.
var renderings = map[string]publish.Form{
	"prometheusrule": publish.PrometheusRules, "configmap": publish.ConfigMaps, "rules": publish.ConfigMaps,
}

// rendered is the text of a rule object. A rule file is what a ConfigMap holds.
func rendered(output string, format publish.Format, source publish.Source, object rules.Object) ([]byte, error) {
	if output == "rules" {
		return publish.RuleFile(object)
	}
	text, err := format.Text(renderings[output], source, object)
	if err != nil {
		return nil, err
	}
	return publish.YAML(text)
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
			form, known := renderings[output]
			if !known {
				return fmt.Errorf("-o %s is none of prometheusrule, rules, configmap", output)
			}
			_, report, err := given.check(c.Context(), args, streams.In, form)
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
			made, err := renderAll(output, given.operator.Format(), objectsOf(report.Decisions, output == "rules" && folder == ""))
			if err != nil {
				return err
			}
			if folder != "" {
				err = intoFolder(folder, made)
			} else {
				err = asStream(streams.Out, made, output == "rules")
			}
			if err != nil {
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

// rule is a rule object with its text.
type rule struct {
	source publish.Source
	object rules.Object
	text   []byte
}

// objectsOf lists the rule objects of decisions. If all shall go into one file, in which the
// names of groups must differ, and there are several namespaces, the names begin with theirs.
func objectsOf(decisions []*controllers.Decision, oneFile bool) []*rule {
	var made []*rule
	namespaces := map[string]bool{}
	for _, decision := range decisions {
		for _, object := range decision.Rules {
			made = append(made, &rule{source: decision.Source, object: object})
			namespaces[decision.Source.Namespace] = true
		}
	}
	if oneFile && len(namespaces) > 1 {
		for _, r := range made {
			r.object.Groups = slices.Clone(r.object.Groups)
			for i := range r.object.Groups {
				r.object.Groups[i].Name = r.source.Namespace + "." + r.object.Groups[i].Name
			}
		}
	}
	return made
}

// renderAll makes the texts of rule objects, several at once. Objects that are too large
// have none: their decisions tell.
func renderAll(output string, format publish.Format, made []*rule) ([]*rule, error) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, r := range made {
		group.Go(func() (err error) {
			r.text, err = rendered(output, format, r.source, r.object)
			var tooLarge *publish.TooLargeError
			if errors.As(err, &tooLarge) {
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(made, func(r *rule) bool { return r.text == nil }), err
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
func intoFolder(folder string, made []*rule) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for _, r := range made {
		if err := os.WriteFile(filepath.Join(folder, r.source.Namespace+"."+r.object.Name+".yaml"), r.text, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// asStream writes rule objects one after the other: as YAML documents, or as one rule file,
// in which the list of groups goes on.
func asStream(out io.Writer, made []*rule, oneFile bool) error {
	w := bufio.NewWriter(out)
	for i, r := range made {
		text := r.text
		switch {
		case i > 0 && oneFile:
			text = bytes.TrimPrefix(text, []byte("groups:\n"))
		case i > 0:
			w.WriteString("---\n")
		}
		w.Write(text)
	}
	return w.Flush()
}
