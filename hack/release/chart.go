package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// chart packs the chart, with the release's version and its images.
func (r *release) chart(name string) error {
	root := filepath.Join(r.checkout, "charts", "sojourn")
	var files []file
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if name == "tests" {
			return filepath.SkipDir
		}
		if base := entry.Name(); entry.IsDir() || strings.HasPrefix(base, ".") && base != ".helmignore" ||
			strings.HasSuffix(base, "~") || strings.HasSuffix(base, ".orig") || strings.HasSuffix(base, ".tgz") {
			return nil // as .helmignore says
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch name {
		case "Chart.yaml":
			// The images' tag is the appVersion, unless values say otherwise.
			content, err = set(content, r.number(), "version")
			if err == nil {
				content, err = set(content, r.version, "appVersion")
			}
		case "values.yaml":
			content, err = set(content, r.imagePrefix, "image", "prefix")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, file{"sojourn/" + filepath.ToSlash(name), 0o644, content})
		return nil
	})
	if err != nil {
		return err
	}
	packed, err := r.inTar(files)
	if err != nil {
		return err
	}
	return r.save(name, packed)
}

// set changes one text of a YAML file, and nothing else: comments are what people read
// there.
func set(content []byte, to string, path ...string) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 {
		return nil, errors.New("is empty")
	}
	node := document.Content[0]
	for _, key := range path {
		var found *yaml.Node
		for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				found = node.Content[i+1]
			}
		}
		if found == nil {
			return nil, fmt.Errorf("has no %s", strings.Join(path, "."))
		}
		node = found
	}
	lines := bytes.Split(content, []byte("\n"))
	line := lines[node.Line-1]
	// Else more stands in the line than the text itself.
	if rest := strings.Trim(string(line[node.Column-1:]), `"' `); rest != node.Value {
		return nil, fmt.Errorf("%s is not alone at the end of its line", strings.Join(path, "."))
	}
	lines[node.Line-1] = append(line[:node.Column-1:node.Column-1], strconv.Quote(to)...)
	return bytes.Join(lines, []byte("\n")), nil
}

// manifests writes what kubectl applies: everything, and the kinds alone.
func (r *release) manifests() error {
	images, err := r.images()
	if err != nil {
		return err
	}
	list := "images:\n"
	for _, image := range images {
		list += fmt.Sprintf("- {name: %s, newName: %q, newTag: %q}\n", image.title, r.prefixed(image.title), r.version)
	}
	return errors.Join(
		r.kustomize("install.yaml", "default", list),
		r.kustomize("crds.yaml", "crd", ""),
	)
}

// kustomize renders a folder of config/ with something besides. What it renders is kept in
// memory: the sources stay as they are.
func (r *release) kustomize(name, folder, besides string) error {
	memory := filesys.MakeFsInMemory()
	config := filepath.Join(r.checkout, "config")
	err := filepath.WalkDir(config, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to, err := filepath.Rel(config, path)
		if err != nil {
			return err
		}
		return memory.WriteFile(filepath.Join("/config", to), content)
	})
	if err != nil {
		return err
	}
	top := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../" + folder + "]\n" + besides
	if err := memory.WriteFile("/config/release/kustomization.yaml", []byte(top)); err != nil {
		return err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // namespaces and kinds first, as kubectl has it
	rendered, err := krusty.MakeKustomizer(options).Run(memory, "/config/release")
	if err != nil {
		return err
	}
	text, err := rendered.AsYaml()
	if err != nil {
		return err
	}
	return r.save(name, text)
}
