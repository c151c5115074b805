package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
)

func mapCommand(streams genericclioptions.IOStreams) *cobra.Command {
	kube := genericclioptions.NewConfigFlags(true)
	var output string
	c := &cobra.Command{
		Use:   "map NAME",
		Short: "Draws a journey",
		Example: `  # In the terminal.
  kubectl journey map online-purchase -n shop

  # For a program.
  kubectl journey map online-purchase -n shop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			namespace, _, err := kube.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return err
			}
			config, err := kube.ToRESTConfig()
			if err != nil {
				return err
			}
			cluster, err := reach.New(config)
			if err != nil {
				return err
			}
			objects, err := cluster.Objects(c.Context(), namespace)
			if err != nil {
				return err
			}
			key := atlas.Key{Namespace: namespace, Name: args[0]}
			drawn := objects.Map(key)
			if drawn == nil {
				return fmt.Errorf("there is no Journey %s in namespace %s; kubectl get journeys -A lists all", args[0], namespace)
			}
			if output == "mermaid" {
				text, _, err := drawMermaid(objects, key, false)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(streams.Out, text)
				return err
			}
			encoder := json.NewEncoder(streams.Out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(drawn)
		},
	}
	kube.AddFlags(c.Flags())
	c.Flags().StringVarP(&output, "output", "o", "json", "json or mermaid")
	return c
}
