package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const (
	homepage = "https://github.com/sojourn-dev/sojourn"
	license  = "Apache-2.0"
)

// saveBill writes a bill of materials beside what it is of, under the same name.
func (r *release) saveBill(name, title string, programs ...string) error {
	bill, err := billOf(title, r.version, programs...)
	if err != nil {
		return err
	}
	return r.saveQuietly(name+".cdx.json", bill)
}

// billOf lists what programs consist of, as the Go command recorded it in the programs
// themselves: every module with its version and checksum, in CycloneDX's JSON. It holds
// neither time nor chance, so the same programs have the same bill.
func billOf(title, version string, programs ...string) ([]byte, error) {
	root := cdx.Component{
		BOMRef: title, Type: cdx.ComponentTypeApplication, Name: title, Version: version,
		Licenses:           &cdx.Licenses{{License: &cdx.License{ID: license}}},
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: homepage}},
	}
	components := map[string]cdx.Component{}
	dependencies := []cdx.Dependency{{Ref: root.BOMRef, Dependencies: &[]string{}}}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("%s does not tell what it was built of: %w", program, err)
		}
		// The program's place in the archive or image is told apart from the whole by "#", as
		// the purl specification has it.
		own := cdx.Component{
			Type: cdx.ComponentTypeApplication, Name: filepath.Base(program), Version: version,
			PackageURL: packageURL(info.Main.Path, version) + "#" + strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/"),
			Properties: &[]cdx.Property{{Name: "go:version", Value: info.GoVersion}},
		}
		own.BOMRef = own.PackageURL
		for _, setting := range info.Settings {
			*own.Properties = append(*own.Properties, cdx.Property{Name: "go:build:" + setting.Key, Value: setting.Value})
		}
		components[own.BOMRef] = own
		*dependencies[0].Dependencies = append(*dependencies[0].Dependencies, own.BOMRef)
		var needs []string
		// A name by which scanners know Go's own library.
		for _, module := range append(info.Deps, &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}) {
			if module.Replace != nil {
				module = module.Replace
			}
			library := cdx.Component{
				Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version,
				PackageURL: packageURL(module.Path, module.Version),
			}
			library.BOMRef = library.PackageURL
			if module.Sum != "" {
				// Go's own checksum, of all files of the module, is no digest of one file.
				library.Properties = &[]cdx.Property{{Name: "go:sum", Value: module.Sum}}
			}
			components[library.BOMRef] = library
			needs = append(needs, library.BOMRef)
		}
		dependencies = append(dependencies, cdx.Dependency{Ref: own.BOMRef, Dependencies: &needs})
	}
	var listed []cdx.Component
	for _, component := range components {
		listed = append(listed, component)
	}
	slices.SortFunc(listed, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	bill := cdx.NewBOM()
	bill.Metadata, bill.Components, bill.Dependencies = &cdx.Metadata{Component: &root}, &listed, &dependencies
	var text bytes.Buffer
	// Scanners are slow to learn of newer versions, and nothing of theirs is needed.
	err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bill, cdx.SpecVersion1_5)
	return text.Bytes(), err
}

// packageURL names a Go module as the purl specification does.
func packageURL(module, version string) string {
	return "pkg:golang/" + strings.ToLower(module) + "@" + strings.ReplaceAll(version, "+", "%2B")
}
