package story

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// tableType asks the API server for what kubectl get prints.
const tableType = "application/json;as=Table;v=v1;g=meta.k8s.io"

// Tables returns what kubectl get prints for each resource, such as journeys, of a
// namespace.
func Tables(ctx context.Context, config *rest.Config, namespace string, resources ...string) (string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	for i, resource := range resources {
		data, err := client.Discovery().RESTClient().Get().
			AbsPath("/apis/sojourn.dev/v1alpha1/namespaces", namespace, resource).
			SetHeader("Accept", tableType).DoRaw(ctx)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", resource, err)
		}
		var table metav1.Table
		if err := json.Unmarshal(data, &table); err != nil {
			return "", fmt.Errorf("reading %s: %w", resource, err)
		}
		if i > 0 {
			fmt.Fprintln(&text)
		}
		if err := WriteTable(&text, &table); err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

// WriteTable prints a table as kubectl get does: the columns of priority 0, their
// names in capitals.
func WriteTable(w io.Writer, table *metav1.Table) error {
	columns := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	write := func(cell func(i int) string) {
		var cells []string
		for i, column := range table.ColumnDefinitions {
			if column.Priority == 0 {
				cells = append(cells, cell(i))
			}
		}
		fmt.Fprintln(columns, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	write(func(i int) string { return strings.ToUpper(table.ColumnDefinitions[i].Name) })
	for _, row := range table.Rows {
		write(func(i int) string {
			if i >= len(row.Cells) || row.Cells[i] == nil {
				return "<none>"
			}
			switch cell := row.Cells[i].(type) {
			case float64: // JSON knows no other number
				return fmt.Sprintf("%g", cell)
			case []any:
				parts := make([]string, len(cell))
				for i, part := range cell {
					parts[i] = fmt.Sprint(part)
				}
				return strings.Join(parts, ",")
			default:
				return strings.ReplaceAll(fmt.Sprint(cell), "\n", " ")
			}
		})
	}
	return columns.Flush()
}
