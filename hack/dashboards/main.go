// Command dashboards writes the Grafana dashboards that everybody has into config/grafana
// and the chart. kubectl journey export grafana makes those of single journeys.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/sojourn-dev/sojourn/controllers/dashboards"
)

// folders hold what everybody has, relative to the checkout.
var folders = []string{"config/grafana", "charts/sojourn/files/dashboards"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run() error {
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
