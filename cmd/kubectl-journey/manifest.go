package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// manifest is an object to be printed, with what to say after it in YAML.
type manifest struct {
	client.Object
	// next are comments: what to add to it.
	next string
}

// printManifests writes objects for kubectl apply, or for people who go on with them.
func printManifests(out io.Writer, format string, objects []manifest, closing string) error {
	switch format {
	case "yaml":
		for i, object := range objects {
			text, err := blockYAML(object.Object)
			if err != nil {
				return err
			}
			if i > 0 {
				fmt.Fprintln(out, "---")
			}
			fmt.Fprint(out, text, object.next)
		}
		fmt.Fprint(out, closing)
		return nil
	case "json":
		items := make([]client.Object, len(objects))
		for i, object := range objects {
			items[i] = object.Object
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			APIVersion string          `json:"apiVersion"`
			Kind       string          `json:"kind"`
			Items      []client.Object `json:"items"`
		}{"v1", "List", items})
	case "name":
		for _, object := range objects {
			kind := object.GetObjectKind().GroupVersionKind()
			fmt.Fprintf(out, "%s.%s/%s\n", strings.ToLower(kind.Kind), kind.Group, object.GetName())
		}
		return nil
	default:
		return fmt.Errorf("there is no output %q: write -o yaml, json or name", format)
	}
}

// manifestFormats completes -o of commands that print objects.
func manifestFormats(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "json", "name"}, cobra.ShellCompDirectiveNoFileComp
}

// blockYAML is an object in the order of its fields, texts of several lines as blocks.
func blockYAML(object runtime.Object) (string, error) {
	fields, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	node, err := kyaml.Parse(string(fields))
	if err != nil {
		return "", err
	}
	root := node.YNode()
	asBlocks(root)
	if len(root.Content) >= 4 && root.Content[0].Value == "kind" {
		// People expect apiVersion first.
		root.Content[0], root.Content[1], root.Content[2], root.Content[3] = root.Content[2], root.Content[3], root.Content[0], root.Content[1]
	}
	return node.String()
}

func asBlocks(node *kyaml.Node) {
	node.Style = 0
	if node.Kind == kyaml.ScalarNode && node.Tag == kyaml.NodeTagString {
		if strings.Contains(node.Value, "\n") {
			node.Style = kyaml.LiteralStyle
		} else if kyaml.IsYaml1_1NonString(node) {
			node.Style = kyaml.DoubleQuotedStyle
		}
	}
	for _, each := range node.Content {
		asBlocks(each)
	}
}
