package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/mermaid"
)

func exportCommand(streams genericclioptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use:   "export FORMAT NAME",
		Short: "Describes objects for other tools: mermaid, openslo, grafana",
		Example: `  # A journey as a Mermaid diagram, with the scores that customers cause now.
  kubectl journey export mermaid online-purchase -n shop

  # Its promises as OpenSLO.
  kubectl journey export openslo journey/online-purchase -n shop

  # Its dashboard.
  kubectl journey export grafana online-purchase -n shop`,
	}
	c.AddCommand(exportMermaidCommand(streams))
	c.AddCommand(exportOpenSLOCommand(streams))
	c.AddCommand(exportGrafanaCommand(streams))
	return c
}

func exportMermaidCommand(streams genericclioptions.IOStreams) *cobra.Command {
	from := objectFlags{kube: genericclioptions.NewConfigFlags(true)}
	var declared bool
	c := &cobra.Command{
		Use:   "mermaid NAME",
		Short: "Draws a journey as a Mermaid journey diagram",
		Long: `Draws a Journey as a Mermaid journey diagram. Its scores are what customers cause now:
a touchpoint's score from 0 to 100 becomes 1 to 5, by 1 + score ÷ 25. Where none is known,
the task says (no data) and stands at 3, neither glad nor sad.

With --declared, scores are those that were drawn before the journey was imported, and 3
where none was. An imported journey that nobody changed then gives back what was imported.`,
		Example: `  # Live, from the cluster.
  kubectl journey export mermaid online-purchase -n shop > purchase.mmd

  # As it was drawn, from files.
  kubectl journey export mermaid online-purchase -f shop.yaml --declared`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			objects, namespace, err := from.load(c.Context(), streams)
			if err != nil {
				return err
			}
			key, err := named(objects.Journeys, "Journey", namespace, args[0])
			if err != nil {
				return err
			}
			text, known, err := drawMermaid(objects, key, declared)
			if err != nil {
				return err
			}
			if !declared && !known {
				fmt.Fprintln(streams.ErrOut, "No score of any touchpoint is known; --declared gives those that were drawn.")
			}
			_, err = fmt.Fprint(streams.Out, text)
			return err
		},
		ValidArgsFunction: completeNames(from.kube, "journeys", ""),
	}
	from.add(c)
	c.Flags().BoolVar(&declared, "declared", false, "the scores that were drawn, not those that customers cause")
	return c
}

// drawMermaid is a journey as a Mermaid diagram, and whether any score of it is known.
func drawMermaid(objects *atlas.Objects, key atlas.Key, declared bool) (text string, known bool, err error) {
	diagram, err := mermaid.Export(objects.Journeys[key], func(reference v1alpha1.TouchpointReference) mermaid.Known {
		found := objects.Touchpoints[atlas.Key{Namespace: cmp.Or(string(reference.Namespace), key.Namespace), Name: string(reference.Name)}]
		if found == nil {
			return mermaid.Known{}
		}
		of := mermaid.Known{DisplayName: found.Spec.DisplayName, Exists: true}
		if score, err := strconv.ParseFloat(string(found.Status.Score), 64); err == nil {
			of.Score, known = &score, true
		}
		return of
	}, declared)
	if err != nil {
		return "", false, err
	}
	return diagram.String(), known, nil
}

// writeMermaid writes a journey as a Mermaid diagram.
func writeMermaid(out io.Writer, objects *atlas.Objects, m *atlas.Map) error {
	text, _, err := drawMermaid(objects, atlas.Key{Namespace: m.Namespace, Name: m.Name}, false)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}
