// Command dashboards writes the Grafana dashboards that everybody has into config/grafana
// and the chart. With a Journey's file, and those of its touchpoints, it writes that
// Journey's own dashboard to standard output:
//
//	go run ./hack/dashboards journey.yaml touchpoints.yaml > journey.json
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/dashboards"
)

// folders hold what everybody has, relative to the checkout.
var folders = []string{"config/grafana", "charts/sojourn/files/dashboards"}

func main() {
	flag.Parse()
	if err := run(flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run(files []string, out io.Writer) error {
	if len(files) > 0 {
		made, err := ofFiles(files)
		if err != nil {
			return err
		}
		text, err := dashboards.JSON(made)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	made, err := everybodys()
	if err != nil {
		return err
	}
	for name, text := range made {
		for _, folder := range folders {
			if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// everybodys are the dashboards that everybody has, by file name.
func everybodys() (map[string][]byte, error) {
	made := map[string][]byte{}
	for name, make := range map[string]func() (dashboard.Dashboard, error){"overview.json": dashboards.Overview, "journey.json": dashboards.AnyJourney} {
		one, err := make()
		if err != nil {
			return nil, err
		}
		if made[name], err = dashboards.JSON(one); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// ofFiles makes the dashboard of the one Journey that the files hold.
func ofFiles(files []string) (dashboard.Dashboard, error) {
	var journey *v1alpha1.Journey
	touchpoints := map[types.NamespacedName]*v1alpha1.Touchpoint{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return dashboard.Dashboard{}, err
		}
		for _, document := range bytes.Split(append([]byte("\n"), content...), []byte("\n---\n")) {
			var kind struct{ Kind string }
			if err := yaml.Unmarshal(document, &kind); err != nil {
				return dashboard.Dashboard{}, fmt.Errorf("%s: %w", file, err)
			}
			switch kind.Kind {
			case "Journey":
				if journey != nil {
					return dashboard.Dashboard{}, fmt.Errorf("%s: a second Journey beside %s: name the files of one", file, journey.Name)
				}
				journey = &v1alpha1.Journey{}
				err = yaml.UnmarshalStrict(document, journey)
			case "Touchpoint":
				touchpoint := &v1alpha1.Touchpoint{}
				err = yaml.UnmarshalStrict(document, touchpoint)
				touchpoints[types.NamespacedName{Namespace: touchpoint.Namespace, Name: touchpoint.Name}] = touchpoint
			}
			if err != nil {
				return dashboard.Dashboard{}, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if journey == nil {
		return dashboard.Dashboard{}, errors.New("no Journey in these files")
	}
	return dashboards.ForJourney(journey, touchpoints)
}
