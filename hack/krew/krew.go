package main

// plugin is krew's manifest of a plugin.
//
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
type plugin struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   metadata   `json:"metadata"`
	Spec       pluginSpec `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type pluginSpec struct {
	Version          string     `json:"version"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Caveats          string     `json:"caveats,omitempty"`
	Platforms        []platform `json:"platforms"`
}

type platform struct {
	Selector selector    `json:"selector"`
	URI      string      `json:"uri"`
	SHA256   string      `json:"sha256"`
	Bin      string      `json:"bin"`
	Files    []operation `json:"files"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type operation struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func pluginOf(version string) *plugin {
	return &plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: metadata{Name: "journey"},
		Spec: pluginSpec{
			Version: version, Homepage: "https://github.com/sojourn-dev/sojourn",
			ShortDescription: "Show, check and gate customer journeys",
			Description: `Draws customer journeys of the Sojourn operator and says where customers are
let down and why. Checks, renders and converts journeys in files without a
cluster, and lets pipelines wait until error budgets allow a release.
`,
			Caveats: `For completion, put a file named kubectl_complete-journey into your PATH
and make it executable:
  #!/bin/sh
  exec kubectl-journey __complete "$@"
`,
		},
	}
}

func platformOf(system, machine, uri, digest, program string) platform {
	return platform{
		Selector: selector{MatchLabels: map[string]string{"os": system, "arch": machine}}, URI: uri, SHA256: digest, Bin: program,
		Files: []operation{{From: program, To: "."}, {From: "LICENSE", To: "."}, {From: "kubectl_complete-journey", To: "."}},
	}
}
