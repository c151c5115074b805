package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// krewPlugin is krew's manifest of a plugin.
//
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
type krewPlugin struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   krewName `json:"metadata"`
	Spec       krewSpec `json:"spec"`
}

type krewName struct {
	Name string `json:"name"`
}

type krewSpec struct {
	Version          string         `json:"version"`
	Homepage         string         `json:"homepage"`
	ShortDescription string         `json:"shortDescription"`
	Description      string         `json:"description"`
	Caveats          string         `json:"caveats,omitempty"`
	Platforms        []krewPlatform `json:"platforms"`
}

type krewPlatform struct {
	Selector krewSelector `json:"selector"`
	URI      string       `json:"uri"`
	SHA256   string       `json:"sha256"`
	Bin      string       `json:"bin"`
	Files    []krewMove   `json:"files"`
}

type krewSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type krewMove struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// completion is what kubectl runs, under the name completionName in the PATH, to complete
// the plugin's arguments.
const (
	completionName = "kubectl_complete-journey"
	completion     = "#!/bin/sh\nexec kubectl-journey __complete \"$@\"\n"
)

// plugin writes archives of the plugin and the manifest by which krew installs them.
func (r *release) plugin(ctx context.Context) error {
	terms, err := os.ReadFile(filepath.Join(r.checkout, "LICENSE"))
	if err != nil {
		return err
	}
	manifest := krewPlugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: krewName{"journey"},
		Spec: krewSpec{
			Version: r.version, Homepage: homepage,
			ShortDescription: "Show, check and gate customer journeys",
			Description: `Draws customer journeys of the Sojourn operator and says where customers are
let down and why. Checks, renders and converts journeys in files without a
cluster, and lets pipelines wait until error budgets allow a release.
`,
			Caveats: `For completion, put a file named ` + completionName + ` into your PATH
and make it executable:
  #!/bin/sh
  exec kubectl-journey __complete "$@"
`,
		},
	}
	for _, platform := range r.desktopPlatforms() {
		built, err := r.compile(ctx, platform, journey)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(built[0])
		if err != nil {
			return err
		}
		files := []file{{filepath.Base(built[0]), 0o755, content}, {"LICENSE", 0o644, terms}, {completionName, 0o755, []byte(completion)}}
		system, machine, _ := strings.Cut(platform, "/")
		name, pack, suffix := r.fileName(journey, platform), r.inTar, ".tar.gz"
		if system == "windows" {
			pack, suffix = r.inZip, ".zip"
		}
		packed, err := pack(files)
		if err != nil {
			return err
		}
		if err := r.save(name+suffix, packed); err != nil {
			return err
		}
		if err := r.saveBill(name, journey, built[0]); err != nil {
			return err
		}
		sum := sha256.Sum256(packed)
		to := krewPlatform{
			Selector: krewSelector{map[string]string{"os": system, "arch": machine}},
			URI:      homepage + "/releases/download/" + r.version + "/" + name + suffix,
			SHA256:   hex.EncodeToString(sum[:]), Bin: filepath.Base(built[0]),
		}
		for _, f := range files {
			to.Files = append(to.Files, krewMove{f.name, "."})
		}
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, to)
	}
	text, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return r.save("journey.yaml", text)
}
