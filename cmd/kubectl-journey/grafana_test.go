package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// samplesFolder is config/samples without the file that is no part of its kustomization.
func samplesFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "shop")
	if err := os.CopyFS(folder, os.DirFS("../../config/samples")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "shortest.yaml")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// readBoard reads a dashboard's title and uid.
func readBoard(t *testing.T, text string) (title, uid string) {
	t.Helper()
	var of struct{ Title, UID string }
	if err := json.Unmarshal([]byte(text), &of); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return of.Title, of.UID
}

// TestExportGrafana holds the command to where it writes what; what is on dashboards, the tests
// of hack/dashboards hold.
func TestExportGrafana(t *testing.T) {
	samples := samplesFolder(t)
	first, errOut, err := run(t, "", "export", "grafana", "online-purchase", "-f", samples, "-n", "shop")
	if err != nil || errOut != "" {
		t.Fatal(err, errOut)
	}
	title, uid := readBoard(t, first)
	if !strings.HasPrefix(title, "Journey: ") || !strings.HasPrefix(uid, "sojourn-journey-") || !strings.Contains(first, `"3. Purchase · 购买: Checkout · 结账 ★"`) || !strings.Contains(first, `"orders-per-hour"`) {
		t.Errorf("%s %s", title, uid)
	}
	if again, _, _ := run(t, "", "export", "grafana", "-f", samples); again != first {
		t.Error("the only journey comes out otherwise if it is not named")
	}

	out, _, err := run(t, "", "export", "grafana", "-f", samples, "--overview", "-o", "configmap", "--labels", "dashboards=yes")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for document := range strings.SplitSeq(out, "\n---\n") {
		var object corev1.ConfigMap
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		for file, text := range object.Data {
			title, _ := readBoard(t, text)
			found = append(found, strings.Join([]string{object.Namespace, object.Name, object.Labels["dashboards"], object.Labels["grafana_dashboard"], file}, " "))
			if strings.HasPrefix(title, "Journey: ") && text != first {
				t.Error("the ConfigMap holds another dashboard than is written as JSON")
			}
		}
	}
	if want := []string{"sojourn-system sojourn-dashboard-overview yes  sojourn-overview.json", "shop sojourn-dashboard-online-purchase yes  shop.online-purchase.json"}; !slices.Equal(found, want) {
		t.Errorf("%q, want %q", found, want)
	}

	folder := filepath.Join(t.TempDir(), "new")
	for _, output := range []string{"json", "configmap"} {
		if _, _, err := run(t, "", "export", "grafana", "-f", samples, "--overview", "--output-dir", folder, "-o", output); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(folder)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{"shop.online-purchase.json", "shop.online-purchase.yaml", "sojourn-overview.json", "sojourn-overview.yaml"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v", names, err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "shop.online-purchase.json")); err != nil || string(text) != first {
		t.Error("the file holds another dashboard than standard output", err)
	}
	// The one over everything needs neither files nor a cluster, and is what everybody gets.
	everybodys, err := os.ReadFile("../../config/grafana/overview.json")
	if err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, "", "export", "grafana", "--overview", "--kubeconfig", filepath.Join(folder, "none")); err != nil || out != string(everybodys) {
		t.Errorf("--overview alone: %v", err)
	}
}

func TestExportGrafanaMistakes(t *testing.T) {
	samples := samplesFolder(t)
	for _, test := range []struct {
		args, want string
	}{
		{"-f " + samples + " --overview", "there are 2 dashboards (shop.online-purchase.json, sojourn-overview.json): name one journey, or add --output-dir, or -o configmap"},
		{"online-purchase online-purchase -f " + samples, "shop.online-purchase.json is named twice"},
		{"nowhere -f " + samples, "there is no Journey nowhere in the files"},
		{"-f " + filepath.Join(samples, "promises.yaml"), "there is no Journey to make a dashboard of; --overview alone makes the one over everything"},
		{"-f " + samples + " -o pdf", "-o pdf is none of json, configmap"},
		{"-f " + samples + " --labels a=b", "--labels are those of ConfigMaps: add -o configmap"},
	} {
		out, _, err := run(t, "", append([]string{"export", "grafana"}, strings.Fields(test.args)...)...)
		if err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
			t.Errorf("%s: %v, printed %q, want %q", test.args, err, out, test.want)
		}
	}
	large := board{file: "large.json", text: make([]byte, configMapBytes+1)}
	if _, err := new(grafanaOptions).configMap(large); err == nil || !strings.Contains(err.Error(), "import its JSON (-o json) instead") {
		t.Error(err)
	}
}
