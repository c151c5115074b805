package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/terminal"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/triage"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

func statusCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		cluster  *clusterFlags
		shown    *display
		output   string
		exitCode bool
	)
	c := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Says why something is not right, and what to do",
		Long: `status says what is not right with journeys, touchpoints and ExperienceSLOs, the worst
first: since when, by which figures, what is broken behind it, what customers say, and
the next command to type. A NAME is journey/NAME, tp/NAME, xslo/NAME, or the bare name
of a journey; without one, all of the namespace is looked at.

The exit code is 0 whenever the question could be answered, whatever the answer. With
--exit-code it is 1 if there is a problem. It is 2 if the question could not be answered.`,
		Example: `  # Everything in a namespace.
  kubectl journey status -n shop

  # A journey, and what customers wrote where it hurts.
  SOJOURN_GATEWAY_TOKEN=… kubectl journey status online-purchase -n shop

  # A touchpoint and an ExperienceSLO.
  kubectl journey status tp/checkout xslo/critical-touchpoints -n shop

  # Fail a script if anything is wrong, anywhere.
  kubectl journey status -A --exit-code`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := shown.validate(); err != nil {
				return err
			}
			if output != "" && output != "json" && output != "yaml" && output != "name" {
				return fmt.Errorf("-o %s is not known: write json, yaml or name, or leave it away for people", output)
			}
			if len(args) > 0 && cluster.allNamespaces {
				return errors.New("what is named is in one namespace: name it by -n, or leave the names away to look at all")
			}
			from, namespace, err := cluster.connect()
			if err != nil {
				return err
			}
			objects, err := from.Objects(c.Context(), namespace)
			if err != nil {
				return err
			}
			chosen := triage.All(objects, namespace)
			if len(args) > 0 {
				if chosen, err = triage.Named(objects, namespace, args); err != nil {
					return err
				}
			}
			report := triage.Find(objects, chosen)
			inquire(c.Context(), from, namespace, chosen, report)
			if err := printReport(streams.Out, output, report, shown.options()); err != nil {
				return err
			}
			wrong := slices.ContainsFunc(report.Problems, func(p *triage.Problem) bool { return p.Level != triage.Note })
			if exitCode && wrong {
				return codeError{errors.New("there are problems"), exitFindings}
			}
			return nil
		},
	}
	cluster = addClusterFlags(c)
	cluster.addAllNamespaces(c)
	shown = addDisplayFlags(c, streams.Out)
	c.Flags().StringVarP(&output, "output", "o", "", "json, yaml or name; default: for people")
	c.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if there is a problem")
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml", "name"}, cobra.ShellCompDirectiveNoFileComp)))
	c.ValidArgsFunction = cluster.completeJourneys
	return c
}

func printReport(out io.Writer, output string, report *triage.Report, options terminal.Options) error {
	switch output {
	case "":
		_, err := io.WriteString(out, terminal.Status(report, time.Now(), options))
		return err
	case "name":
		for _, p := range report.Problems {
			if _, err := fmt.Fprintf(out, "%s.sojourn.dev/%s\n", strings.ToLower(p.Kind), p.Name); err != nil {
				return err
			}
		}
		return nil
	default:
		return printAs(out, output, report)
	}
}

const (
	// mostAsked is for how many touchpoints the gateway is asked what customers wrote.
	mostAsked = 8
	// mostQuoted is how many of them are shown each.
	mostQuoted = 3
)

// inquire adds what Prometheus and the gateway know of problems: since when alerts fire, and
// what customers wrote.
func inquire(ctx context.Context, from *reach.Cluster, namespace string, chosen triage.Selection, report *triage.Report) {
	var all sync.WaitGroup
	var mu sync.Mutex
	missing := map[string]bool{}
	lack := func(sentence string) {
		mu.Lock()
		defer mu.Unlock()
		if sentence != "" && !missing[sentence] {
			missing[sentence] = true
			report.Missing = append(report.Missing, sentence)
		}
	}
	asked := 0
	for _, p := range report.Problems {
		if p.Kind != "Touchpoint" || len(p.Budgets) == 0 || asked == mostAsked {
			continue
		}
		asked++
		all.Go(func() {
			_, worst, sentence := from.Comments(ctx, atlas.Key{Namespace: p.Namespace, Name: p.Name})
			p.Comments = negative(worst)
			lack(sentence)
		})
	}
	var firing []reach.Firing
	all.Go(func() {
		var sentence string
		firing, sentence = from.Firing(ctx, namespace)
		lack(sentence)
	})
	all.Wait()
	for i := range firing {
		began(report, chosen, &firing[i])
	}
	report.Sort()
	slices.Sort(report.Missing)
}

// began tells since when an alert fires, or of what it tells alone.
func began(report *triage.Report, chosen triage.Selection, f *reach.Firing) {
	if f.Alert == rules.AlertDataMissing {
		report.Silent(chosen, f.Touchpoint, f.SLO, f.Objective, f.Since)
		return
	}
	for _, p := range report.Problems {
		if p.Kind != "Touchpoint" || f.Touchpoint != (atlas.Key{Namespace: p.Namespace, Name: p.Name}) {
			continue
		}
		for i := range p.Alerts {
			if a := &p.Alerts[i]; a.SLO == f.SLO && a.Objective == f.Objective && a.Tier == f.Tier {
				a.Since = f.Since
			}
		}
	}
}

// scales tell which scores are those of customers who were let down.
var scales = map[string]budget.Scale{"CES": budget.CES, "CES1": budget.CES1, "CSAT": budget.CSAT, "NPS": budget.NPS}

// negative leaves the latest comments of those who were let down.
func negative(comments []atlas.Comment) []atlas.Comment {
	var found []atlas.Comment
	for _, comment := range comments {
		if scale, known := scales[comment.Instrument]; known && scale.IsBad(comment.Score) {
			found = append(found, comment)
		}
	}
	slices.SortStableFunc(found, func(a, b atlas.Comment) int { return b.Received.Compare(a.Received) })
	return found[:min(len(found), mostQuoted)]
}
