package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/terminal"
)

// mapFormats are the files as which a journey can be drawn.
var mapFormats = map[string]func(io.Writer, *atlas.Objects, *atlas.Map) error{
	"json":    func(out io.Writer, _ *atlas.Objects, m *atlas.Map) error { return printAs(out, "json", m) },
	"yaml":    func(out io.Writer, _ *atlas.Objects, m *atlas.Map) error { return printAs(out, "yaml", m) },
	"mermaid": writeMermaid,
	"svg":     writePicture("svg"),
	"png":     writePicture("png"),
	"html":    writePicture("html"),
}

func mapCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var (
		cluster *clusterFlags
		shown   *display
		output  string
		watch   bool
	)
	formats := slices.Sorted(maps.Keys(mapFormats))
	c := &cobra.Command{
		Use:   "map [NAME]",
		Short: "Draws a journey",
		Long: `map draws a journey: its stages side by side, what customers meet in them below, and
above these how they fare, from 0 to 100. Without a name it lists the journeys of the
namespace, or draws the one that there is.

Figures are those of the objects' status, as kubectl get shows them. Trends come from
Prometheus; without it the rest is drawn, and the end says what is missing.`,
		Example: `  # In the terminal.
  kubectl journey map online-purchase -n shop

  # And again whenever something changes.
  kubectl journey map online-purchase -n shop --watch

  # All journeys that you may see, one a line.
  kubectl journey map -A

  # The map and the service blueprint as a picture, or as a page that is one file.
  kubectl journey map online-purchase -n shop -o svg > online-purchase.svg
  kubectl journey map online-purchase -n shop -o html > online-purchase.html

  # For a program.
  kubectl journey map online-purchase -n shop -o json | jq .score

  # For a wiki, without colour, 120 cells wide.
  kubectl journey map online-purchase -n shop --color never --width 120 > map.txt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := shown.validate(); err != nil {
				return err
			}
			format := mapFormats[output]
			switch {
			case output != "" && output != "name" && format == nil:
				return fmt.Errorf("-o %s is not known: write one of %s, or leave it away to draw in the terminal", output, strings.Join(formats, ", "))
			case output != "" && watch:
				return errors.New("--watch draws in the terminal: leave -o away")
			case len(args) > 0 && cluster.allNamespaces:
				return errors.New("a journey is in one namespace: name it by -n, or leave the name away to list all of them")
			}
			from, namespace, err := cluster.connect()
			if err != nil {
				return err
			}
			draw := func(options terminal.Options) (string, error) {
				objects, err := from.Objects(c.Context(), namespace)
				if err != nil {
					return "", err
				}
				m, err := chosen(objects, namespace, args)
				if err != nil {
					return "", err
				}
				if m == nil {
					return terminal.Journeys(listed(objects), namespace == "", options), nil
				}
				trends(c.Context(), from, m)
				return terminal.Map(m, options), nil
			}
			if watch {
				changed, err := from.Changes(c.Context(), namespace)
				if err != nil {
					return err
				}
				return shown.follow(c.Context(), changed, draw)
			}
			if output == "" {
				text, err := draw(shown.options())
				if err != nil {
					return err
				}
				_, err = io.WriteString(streams.Out, text)
				return err
			}
			objects, err := from.Objects(c.Context(), namespace)
			if err != nil {
				return err
			}
			m, err := chosen(objects, namespace, args)
			if err != nil {
				return err
			}
			return printMaps(c.Context(), streams.Out, from, output, m, objects)
		},
	}
	cluster = addClusterFlags(c)
	cluster.addAllNamespaces(c)
	shown = addDisplayFlags(c, streams.Out)
	c.Flags().StringVarP(&output, "output", "o", "", strings.Join(formats, ", ")+", or name; default: in the terminal")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "draw again whenever something changes")
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(append(formats, "name"), cobra.ShellCompDirectiveNoFileComp)))
	c.ValidArgsFunction = cluster.completeJourneys
	return c
}

// chosen is the journey that was named, or the only one; nil if all are meant.
func chosen(objects *atlas.Objects, namespace string, args []string) (*atlas.Map, error) {
	if len(args) > 0 {
		key, err := journeyNamed(objects, namespace, args[0])
		if err != nil {
			return nil, err
		}
		return objects.Map(key), nil
	}
	switch keys := objects.Keys(); {
	case len(keys) == 0 && namespace == "":
		return nil, errors.New("there are no journeys that you may see: docs/map.md says how to begin with one")
	case len(keys) == 0:
		return nil, fmt.Errorf("there is no journey in namespace %s: name another by -n, or list all by -A", namespace)
	case len(keys) == 1:
		return objects.Map(keys[0]), nil
	default:
		return nil, nil
	}
}

func listed(objects *atlas.Objects) []*atlas.Map {
	var all []*atlas.Map
	for _, key := range objects.Keys() {
		all = append(all, objects.Map(key))
	}
	return all
}

// trends adds them, or says why there are none.
func trends(ctx context.Context, from *reach.Cluster, drawn ...*atlas.Map) {
	lacks := from.Trends(ctx, drawn...)
	for _, m := range drawn {
		m.Missing = append(m.Missing, lacks...)
	}
}

// printMaps writes a journey, or all of them, for a program.
func printMaps(ctx context.Context, out io.Writer, from *reach.Cluster, output string, m *atlas.Map, objects *atlas.Objects) error {
	all := listed(objects)
	switch {
	case output == "name":
		if m != nil {
			all = []*atlas.Map{m}
		}
		for _, each := range all {
			if _, err := fmt.Fprintln(out, "journey.sojourn.dev/"+each.Name); err != nil {
				return err
			}
		}
		return nil
	case m != nil:
		trends(ctx, from, m)
		return mapFormats[output](out, objects, m)
	case output != "json" && output != "yaml":
		return fmt.Errorf("-o %s draws one journey: name it; kubectl journey map lists them", output)
	default:
		trends(ctx, from, all...)
		return printAs(out, output, all)
	}
}
