package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

func mapCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var cluster *clusterFlags
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
			from, namespace, err := cluster.connect()
			if err != nil {
				return err
			}
			objects, err := from.Objects(c.Context(), namespace)
			if err != nil {
				return err
			}
			key, err := journeyNamed(objects, namespace, args[0])
			if err != nil {
				return err
			}
			drawn := objects.Map(key)
			drawn.Missing = append(drawn.Missing, from.Trends(c.Context(), drawn)...)
			encoder := json.NewEncoder(streams.Out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(drawn)
		},
	}
	cluster = addClusterFlags(c)
	c.Flags().StringVarP(&output, "output", "o", "json", "json")
	return c
}
