package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/change"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

func diffCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		given   fileFlags
		kube    = genericclioptions.NewConfigFlags(true)
		from    []string
		output  string
		spelled bool
	)
	c := &cobra.Command{
		Use:   "diff FILE|FOLDER|- …",
		Short: "Says what applying files would change in budgets, alerts and rules",
		Long: `diff says what applying files would change: which budgets come, go and change, with
what is promised and which alerts are in force, and in which rules. It compares with
what is in the cluster, read with your rights, or with other files.

Applying removes nothing: objects of the cluster that are not among the files stay.
Compared with other files, what those have and these have not is removed.

The exit code is 0 without a change, 1 with one, and 2 if something went wrong.`,
		Example: `  # Before you apply.
  kubectl journey diff -R config/

  # In a pull request: the branch against what it shall be merged into.
  git worktree add ../main origin/main
  kubectl journey diff -R config/ --from ../main/config

  # With the rules themselves, as a unified diff.
  kubectl kustomize overlays/production | kubectl journey diff - --rules`,
		Args: needFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("-o %s is neither text nor json", output)
			}
			before, after, err := func() (before, after []*controllers.Decision, err error) {
				if len(from) > 0 {
					return given.compareFiles(c.Context(), streams, from, args, *kube.Namespace)
				}
				return given.compareCluster(c.Context(), streams, kube, args)
			}()
			if err != nil {
				return err
			}
			changes, err := change.Between(before, after, given.operator.Format(), spelled)
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(streams.Out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(changes)
			} else {
				err = changes.WriteText(streams.Out)
			}
			if err == nil && !changes.None() {
				err = codeError{errors.New("there are changes"), exitFindings}
			}
			return err
		},
	}
	given.add(c)
	addKubeFlags(c, kube)
	c.Flags().StringArrayVar(&from, "from", nil, "`file` or folder to compare with, instead of the cluster; can be given several times")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().BoolVar(&spelled, "rules", false, "show the rules that change, too")
	return c
}

// admittedFrom reads files that admission would take.
func (f *fileFlags) admittedFrom(ctx context.Context, streams genericclioptions.IOStreams, names []string) (*lint.Report, error) {
	_, report, err := f.check(ctx, names, streams.In, publish.PrometheusRules)
	if err != nil {
		return nil, err
	}
	if !report.Admitted() {
		if err := writeFindings(streams.ErrOut, errorsOf(report.Findings)); err != nil {
			return nil, err
		}
		return nil, errors.New("nothing can be said of what admission would refuse")
	}
	return report, nil
}

func (f *fileFlags) compareFiles(ctx context.Context, streams genericclioptions.IOStreams, from, to []string, namespace string) (before, after []*controllers.Decision, err error) {
	f.namespace = namespace
	was, err := f.admittedFrom(ctx, streams, from)
	if err != nil {
		return nil, nil, fmt.Errorf("--from: %w", err)
	}
	is, err := f.admittedFrom(ctx, streams, to)
	if err != nil {
		return nil, nil, err
	}
	return was.Decisions, is.Decisions, nil
}

func (f *fileFlags) compareCluster(ctx context.Context, streams genericclioptions.IOStreams, kube *genericclioptions.ConfigFlags, names []string) (before, after []*controllers.Decision, err error) {
	if f.namespace, err = currentNamespace(kube); err != nil {
		return nil, nil, err
	}
	report, err := f.admittedFrom(ctx, streams, names)
	if err != nil {
		return nil, nil, err
	}
	config, err := kube.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("%w; --from compares with other files instead", err)
	}
	cluster, err := reach.New(config, reach.Options{})
	if err != nil {
		return nil, nil, err
	}
	live := atlas.NewObjects()
	for _, namespace := range concerned(report.Objects) {
		part, err := cluster.Objects(ctx, namespace)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(live.Journeys, part.Journeys)
		maps.Copy(live.Touchpoints, part.Touchpoints)
		maps.Copy(live.ExperienceSLOs, part.ExperienceSLOs)
		maps.Copy(live.NamespaceLabels, part.NamespaceLabels)
		for namespace, why := range part.Unreadable {
			fmt.Fprintf(streams.ErrOut, "namespace %s is left out: %s\n", namespace, why)
		}
	}
	if before, err = controllers.Plan(ctx, asObjects(live), f.operator, publish.PrometheusRules); err != nil {
		return nil, nil, err
	}
	put(live.Journeys, report.Objects.Journeys)
	put(live.Touchpoints, report.Objects.Touchpoints)
	put(live.ExperienceSLOs, report.Objects.ExperienceSLOs)
	after, err = controllers.Plan(ctx, asObjects(live), f.operator, publish.PrometheusRules)
	return before, after, err
}

// concerned lists the namespaces of objects, and those through which their journeys pass.
func concerned(objects controllers.Objects) []string {
	found := map[string]bool{}
	for _, journey := range objects.Journeys {
		found[journey.Namespace] = true
		for _, reference := range targets.References(journey) {
			found[reference.Namespace] = true
		}
	}
	for _, touchpoint := range objects.Touchpoints {
		found[touchpoint.Namespace] = true
	}
	for _, slo := range objects.ExperienceSLOs {
		found[slo.Namespace] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func asObjects(live *atlas.Objects) controllers.Objects {
	return controllers.Objects{
		Journeys: slices.Collect(maps.Values(live.Journeys)), Touchpoints: slices.Collect(maps.Values(live.Touchpoints)),
		ExperienceSLOs: slices.Collect(maps.Values(live.ExperienceSLOs)), NamespaceLabels: live.NamespaceLabels,
	}
}

// put puts objects over those of the same name.
func put[T client.Object](live map[atlas.Key]T, objects []T) {
	for _, object := range objects {
		live[client.ObjectKeyFromObject(object)] = object
	}
}
