package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/dashboards"
)

// board is a dashboard with the names that it gets.
type board struct {
	// namespace is where its ConfigMap goes, object the ConfigMap's name, and file the name
	// of the JSON in it, which Grafana's sidecar writes into one folder for all namespaces.
	namespace, object, file string
	text                    []byte
}

// grafanaOptions are how dashboards are written.
type grafanaOptions struct {
	output, folder string
	labels         map[string]string
}

func exportGrafanaCommand(streams genericclioptions.IOStreams) *cobra.Command {
	from := objectFlags{kube: genericclioptions.NewConfigFlags(true)}
	var to grafanaOptions
	var overview bool
	c := &cobra.Command{
		Use:   "grafana [NAME …]",
		Short: "Makes Grafana dashboards of journeys",
		Long: `Makes a Grafana dashboard for each Journey that is named, or for all: its stages in their
order, its touchpoints by their display names, and panels of what is measured there. With
--overview there is also the one over everything; with --overview and neither a name nor -f,
only that.

A dashboard has the same uid each time it is made, so that Grafana replaces it. Several of
them go into a folder (--output-dir), or are ConfigMaps (-o configmap) that the sidecar of
Grafana loads.`,
		Example: `  # For an import by hand.
  kubectl journey export grafana online-purchase -n shop > online-purchase.json

  # All journeys of these files, one dashboard in each file.
  kubectl journey export grafana -f shop/ --output-dir dashboards/

  # For Git, beside the files of the journey.
  kubectl journey export grafana -f shop/ -o configmap > shop/dashboards.yaml

  # The one over everything, for a sidecar with another label.
  kubectl journey export grafana --overview -o configmap --labels grafana_dashboard=yes | kubectl apply --server-side -f -`,
		RunE: func(c *cobra.Command, args []string) error {
			if to.output != "json" && to.output != "configmap" {
				return fmt.Errorf("-o %s is none of json, configmap", to.output)
			}
			if to.output == "json" && c.Flags().Changed("labels") {
				return errors.New("--labels are those of ConfigMaps: add -o configmap")
			}
			var made []board
			if overview {
				of, err := dashboards.Overview()
				if err == nil {
					made, err = appendBoard(made, of, "sojourn-system", "sojourn-dashboard-overview", "sojourn-overview.json")
				}
				if err != nil {
					return err
				}
			}
			if !overview || len(args) > 0 || len(from.files) > 0 {
				objects, namespace, err := from.load(c.Context(), streams)
				if err != nil {
					return err
				}
				if made, err = appendJourneys(made, objects, namespace, args); err != nil {
					return err
				}
			}
			return to.write(streams.Out, made)
		},
		ValidArgsFunction: completeNames(from.kube, "journeys", ""),
	}
	from.add(c)
	flags := c.Flags()
	flags.BoolVar(&overview, "overview", false, "the dashboard over all namespaces as well")
	flags.StringVarP(&to.output, "output", "o", "json", "json or configmap")
	flags.StringVar(&to.folder, "output-dir", "", "write a file for each dashboard into this `folder`; default: standard output")
	flags.StringToStringVar(&to.labels, "labels", map[string]string{"grafana_dashboard": "1"}, "labels of the ConfigMaps, by which Grafana's sidecar finds them")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "configmap"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// appendJourneys adds the dashboards of the journeys that are named, or of all.
func appendJourneys(made []board, objects *atlas.Objects, namespace string, names []string) ([]board, error) {
	var keys []atlas.Key
	for _, name := range names {
		key, err := named(objects.Journeys, "Journey", namespace, name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(names) == 0 {
		if keys = objects.Keys(); len(keys) == 0 {
			return nil, errors.New("there is no Journey to make a dashboard of; --overview alone makes the one over everything")
		}
	}
	for _, key := range keys {
		of, err := dashboards.ForJourney(objects.Journeys[key], objects.Touchpoints)
		if err == nil {
			made, err = appendBoard(made, of, key.Namespace, "sojourn-dashboard-"+key.Name, strings.TrimPrefix(key.Namespace+".", ".")+key.Name+".json")
		}
		if err != nil {
			return nil, fmt.Errorf("journey %s: %w", key.Name, err)
		}
	}
	return made, nil
}

func appendBoard(made []board, of dashboard.Dashboard, namespace, object, file string) ([]board, error) {
	text, err := dashboards.JSON(of)
	return append(made, board{namespace: namespace, object: object, file: file, text: text}), err
}

// configMapBytes is how much a ConfigMap can hold.
const configMapBytes = 1 << 20

// configMap is a dashboard for the sidecar.
func (o *grafanaOptions) configMap(b board) (*corev1.ConfigMap, error) {
	if len(b.text) > configMapBytes {
		return nil, fmt.Errorf("the dashboard %s has %d KiB and a ConfigMap holds %d: import its JSON (-o json) instead", b.file, len(b.text)>>10, configMapBytes>>10)
	}
	labels := maps.Clone(o.labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["app.kubernetes.io/name"] = "sojourn"
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.namespace, Name: b.object, Labels: labels,
			// Flux would take ${datasource} for a variable of its own.
			Annotations: map[string]string{"kustomize.toolkit.fluxcd.io/substitute": "disabled"},
		},
		Data: map[string]string{b.file: string(b.text)},
	}, nil
}

// write puts dashboards into a folder, or onto standard output.
func (o *grafanaOptions) write(out io.Writer, made []board) error {
	names := map[string]bool{}
	for _, b := range made {
		if names[b.file] {
			return fmt.Errorf("%s is named twice", b.file)
		}
		names[b.file] = true
	}
	if o.folder == "" && o.output == "json" && len(made) > 1 {
		return fmt.Errorf("there are %d dashboards (%s): name one journey, or add --output-dir, or -o configmap", len(made), strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
	if o.folder != "" {
		if err := os.MkdirAll(o.folder, 0o777); err != nil {
			return err
		}
	}
	for i, b := range made {
		text, file := string(b.text), b.file
		if o.output == "configmap" {
			object, err := o.configMap(b)
			if err != nil {
				return err
			}
			if text, err = blockYAML(object); err != nil {
				return err
			}
			file = strings.TrimSuffix(b.file, ".json") + ".yaml"
		}
		if o.folder != "" {
			if err := os.WriteFile(filepath.Join(o.folder, file), []byte(text), 0o666); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			text = "---\n" + text
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}
