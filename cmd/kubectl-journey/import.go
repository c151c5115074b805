package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/mermaid"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/slug"
)

func importCommand(streams genericclioptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use:   "import FORMAT FILE",
		Short: "Makes objects of what other tools describe: mermaid, openslo",
		Long: `Reads what other tools describe and prints the objects that say the same. It asks no
cluster and changes nothing: look at what it prints, fill it in, then apply it.`,
		Example: `  # A drawing becomes a journey and its touchpoints.
  kubectl journey import mermaid purchase.mmd -n shop > shop.yaml

  # Promises of another tool become promises of Sojourn.
  kubectl journey import openslo slos.yaml -n shop > promises.yaml`,
	}
	c.AddCommand(importMermaidCommand(streams))
	c.AddCommand(importOpenSLOCommand(streams))
	return c
}

func importMermaidCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var options mermaid.Options
	var output, channel string
	c := &cobra.Command{
		Use:   "mermaid FILE|-",
		Short: "Makes a journey of a Mermaid journey diagram",
		Long: `Makes a Journey of a Mermaid journey diagram, and a Touchpoint of each of its tasks.

  title              spec.displayName of the Journey, and its name
  accDescr           spec.description
  section            a stage
  task               a Touchpoint; a task that occurs again is the same one, visited again
  actors             spec.personas of the Journey
  scores, comments,  the annotation sojourn.dev/mermaid of the Journey: a score is what its
  themes, who does   author guessed, not what customers expect or experience
  what

Names are made of the texts: the same diagram gives the same names. Texts in which a name
has to leave letters out end in some digits that stand for the whole text.`,
		Example: `  # Comments in what is printed show what to add next.
  kubectl journey import mermaid purchase.mmd -n shop > shop.yaml

  # From standard input, under a name of your own.
  kubectl journey import mermaid - --name online-purchase < purchase.mmd

  # Apply at once, and see what it came to.
  kubectl journey import mermaid purchase.mmd -n shop | kubectl apply -f -
  kubectl journey map online-purchase -n shop`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readInput(streams.In, args[0])
			if err != nil {
				return err
			}
			if errs := validation.IsDNS1123Label(options.Name); options.Name != "" && len(errs) > 0 {
				return fmt.Errorf("--name %s: %s", options.Name, errs[0])
			}
			options.Channel = v1alpha1.Channel(channel)
			shown := args[0]
			if shown == "-" {
				shown = "standard input"
			}
			diagram, err := mermaid.Parse(text)
			if err != nil {
				return atFile(shown, err)
			}
			if options.Name == "" && diagram.ShownTitle() == "" && args[0] != "-" {
				base := filepath.Base(args[0])
				options.Name = slug.Of(strings.TrimSuffix(base, filepath.Ext(base)), "journey")
			}
			found, err := mermaid.Import(diagram, options)
			if err != nil {
				return atFile(shown, err)
			}
			for _, note := range found.Notes {
				fmt.Fprintf(streams.ErrOut, "%s: %s\n", shown, note)
			}
			return printManifests(streams.Out, output, drawnManifests(found), promiseNext(found))
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"mmd", "mermaid", "md"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	c.Flags().StringVarP(&options.Namespace, "namespace", "n", "", "namespace of the objects (default: none is written, so that kubectl apply -n chooses)")
	c.Flags().StringVar(&options.Name, "name", "", "name of the Journey (default: made of the title, or else of the file's name)")
	c.Flags().StringVar(&channel, "channel", "Web", "channel of all touchpoints, since a diagram tells none: such as Web, MobileApp, Phone, Store")
	c.Flags().StringVarP(&output, "output", "o", "yaml", "yaml, json or name")
	_ = c.RegisterFlagCompletionFunc("output", manifestFormats)
	return c
}

// readInput reads a file, or standard input if it is called -.
func readInput(in io.Reader, name string) (string, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(in)
	} else {
		text, err = os.ReadFile(name)
	}
	return string(text), err
}

// atFile puts the file's name before every line of an error that tells places in it.
func atFile(name string, err error) error {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, name+":"+line)
	}
	return codeError{errors.New(strings.Join(lines, "\n")), exitFindings}
}

// drawnManifests are the objects of a drawing, with what to add to each.
func drawnManifests(found *mermaid.Imported) []manifest {
	objects := []manifest{{Object: found.Journey, next: `  # Next: who it is for and who answers for it; and which touchpoint decides, momentOfTruth: true.
  # goal: What customers want to have reached at the end.
  # owner: {team: TEAM, contact: ADDRESS}
`}}
	for _, touchpoint := range found.Touchpoints {
		objects = append(objects, manifest{Object: touchpoint, next: `  # Next: how it is measured, by visits and by asking, and who answers for it.
  # probe:
  #   http: {url: "http://SERVICE.NAMESPACE.svc/PATH"}
  # survey:
  #   instruments: [{type: CES}]
  # owner: {team: TEAM, runbookURL: "https://RUNBOOK"}
`})
	}
	return objects
}

// promiseNext is a promise along the journey, to be uncommented.
func promiseNext(found *mermaid.Imported) string {
	name, metadata := found.Journey.Name, "{name: "+found.Journey.Name
	if found.Journey.Namespace != "" {
		metadata += ", namespace: " + found.Journey.Namespace
	}
	return `# Next: what is promised along the journey, once its touchpoints are measured.
# ---
# apiVersion: sojourn.dev/v1alpha1
# kind: ExperienceSLO
# metadata: ` + metadata + `}
# spec:
#   targets: {journey: ` + name + `}
#   objectives:
#   - name: effort
#     ces: {easeShare: "80%"}
#   - name: availability
#     availability: {target: "99%"}
`
}
