package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/backtest"
	"github.com/sojourn-dev/sojourn/controllers/observe"
)

func backtestCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		given   fileFlags
		from    observe.Options
		alias   string
		since   string
		until   string
		before  []string
		output  string
		failOn  string
		timeout time.Duration
		most    int64
		queries bool
	)
	c := &cobra.Command{
		Use:   "backtest FILES… --prometheus-url URL",
		Short: "Says which alerts of some files would have fired in the past",
		Long: `Makes the rules that the operator would make of the files, reads from Prometheus the
raw series that these need, and evaluates the rules over the past: which alerts
would have fired, when, for how long and how hard, and how much of each budget
would be left. Nothing is written anywhere, and no cluster is needed.

FILES are YAML files, folders of them, or - for the standard input. They hold the
ExperienceSLOs to try, and the Touchpoints and the Journey that these cover.

Alerts of the past are findings, not errors: the exit code is 0, unless --fail-on
asks for 1.`,
		Example: `  # What would have happened in the last 30 days.
  kubectl journey backtest shop/*.yaml --prometheus-url http://localhost:9090

  # What another target would have changed.
  kubectl journey backtest stricter/ --compare-with shop/ --prometheus-url http://localhost:9090

  # A pipeline that refuses promises which would have paged.
  kustomize build shop | kubectl journey backtest - --since 7d --fail-on page --prometheus-url http://localhost:9090

  # The pages, for a program.
  kubectl journey backtest shop/ --prometheus-url http://localhost:9090 -o json | jq '.alerts[] | select(.severity == "page")'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			from.URL = cmp.Or(from.URL, alias)
			if from.URL == "" {
				return errors.New("say which Prometheus has the past: --prometheus-url http://localhost:9090, for example after kubectl port-forward -n monitoring svc/prometheus 9090")
			}
			if err := from.Validate(); err != nil {
				return err
			}
			options := backtest.Options{MostSamples: most, Until: time.Now()}
			if until != "" {
				at, err := time.Parse(time.RFC3339, until)
				if err != nil {
					return fmt.Errorf("--until %q is no time: write one such as 2026-03-01T09:00:00Z", until)
				}
				options.Until = at
			}
			length, err := model.ParseDuration(since)
			if err != nil || time.Duration(length) < time.Hour || time.Duration(length) > 366*24*time.Hour {
				return fmt.Errorf("--since %q is not between 1h and 366d: write one such as 30d or 12h", since)
			}
			options.Since = time.Duration(length)
			if failOn != "" && failOn != "page" && failOn != "ticket" {
				return fmt.Errorf("--fail-on %q: write page, or ticket, which includes pages", failOn)
			}
			if output != "" && output != "json" && output != "yaml" {
				return fmt.Errorf("-o %q: write json or yaml", output)
			}
			report, err := given.admittedFrom(c.Context(), streams, args)
			if err != nil {
				return err
			}
			options.Decisions = report.Decisions
			if len(before) > 0 {
				report, err := given.admittedFrom(c.Context(), streams, before)
				if err != nil {
					return fmt.Errorf("--compare-with: %w", err)
				}
				options.Before = report.Decisions
			}
			client, err := from.HTTPClient("kubectl-journey")
			if err != nil {
				return err
			}
			options.Prometheus = &backtest.Prometheus{URL: from.URL, Client: client, Timeout: timeout, QueriesOnly: queries}
			tell, end := progressOn(streams.ErrOut)
			var told time.Time
			options.Tell = func(text string) {
				if now := time.Now(); now.Sub(told) > 100*time.Millisecond {
					told = now
					tell(text)
				}
			}
			found, err := backtest.Run(c.Context(), options)
			end()
			if err != nil {
				return err
			}
			if err := writeReport(streams.Out, found, output); err != nil {
				return err
			}
			if failOn == "page" && found.Pages > 0 || failOn == "ticket" && found.Pages+found.Tickets > 0 {
				return codeError{fmt.Errorf("--fail-on %s: %s", failOn, found.Summary()), exitFindings}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVar(&from.URL, "prometheus-url", "", "`address` of the Prometheus, Thanos or Mimir that has the past")
	flags.StringVar(&alias, "prometheus", "", "")
	_ = flags.MarkHidden("prometheus")
	addPrometheusAccess(flags, &from)
	flags.StringVar(&since, "since", "30d", "how far back to look, such as 12h or 30d")
	flags.StringVar(&until, "until", "", "`time` at which the past ends, such as 2026-03-01T09:00:00Z; default: now")
	flags.StringSliceVar(&before, "compare-with", nil, "`files` with the promises of before, to show what changes")
	flags.StringVarP(&output, "output", "o", "", "json or yaml; default: tables")
	flags.StringVar(&failOn, "fail-on", "", "end with exit code 1 if there is a page, or with ticket any alert")
	flags.DurationVar(&timeout, "timeout", 2*time.Minute, "how long Prometheus may take for one answer")
	flags.Int64Var(&most, "max-samples", 300_000_000, "how many samples may be read from Prometheus")
	flags.BoolVar(&queries, "no-remote-read", false, "get samples by queries alone; default: by remote read where Prometheus offers it, which is faster")
	given.add(c)
	given.addNamespace(c)
	return c
}

// writeReport writes a report as text, or for programs.
func writeReport(out io.Writer, report *backtest.Report, output string) error {
	if output == "" {
		return report.WriteText(out)
	}
	return printAs(out, output, report)
}
