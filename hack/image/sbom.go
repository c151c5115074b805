package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// writeBill writes what a program consists of, as the Go compiler recorded it in the
// program itself: every module with its version and checksum, in CycloneDX's JSON. It
// holds neither time nor chance, so the same program has the same bill.
func writeBill(file, program, title, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%s does not tell what it was built of: %w", program, err)
	}
	bill := cyclonedx.NewBOM()
	main := cyclonedx.Component{
		BOMRef: "program", Type: cyclonedx.ComponentTypeApplication, Name: title, Version: version,
		PackageURL: packageURL(info.Main.Path, version),
	}
	bill.Metadata = &cyclonedx.Metadata{Component: &main}
	settings := []cyclonedx.Property{{Name: "go:version", Value: info.GoVersion}, {Name: "go:package", Value: info.Path}}
	for _, setting := range info.Settings {
		settings = append(settings, cyclonedx.Property{Name: "go:build:" + setting.Key, Value: setting.Value})
	}
	main.Properties = &settings
	components := []cyclonedx.Component{{
		BOMRef: "pkg:golang/std@" + info.GoVersion, Type: cyclonedx.ComponentTypeLibrary, Name: "std",
		Version: strings.TrimPrefix(info.GoVersion, "go"), PackageURL: packageURL("std", strings.TrimPrefix(info.GoVersion, "go")),
	}}
	needs := []string{components[0].BOMRef}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		component := cyclonedx.Component{
			BOMRef: packageURL(module.Path, module.Version), Type: cyclonedx.ComponentTypeLibrary,
			Name: module.Path, Version: module.Version, PackageURL: packageURL(module.Path, module.Version),
		}
		if module.Sum != "" {
			// Go's own checksum, of all files of the module, is no digest of one file.
			component.Properties = &[]cyclonedx.Property{{Name: "go:sum", Value: module.Sum}}
		}
		components, needs = append(components, component), append(needs, component.BOMRef)
	}
	bill.Components = &components
	bill.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	encoder := cyclonedx.NewBOMEncoder(out, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.Encode(bill); err != nil {
		return err
	}
	return out.Close()
}

// packageURL names a Go module as the purl specification does.
func packageURL(module, version string) string {
	return "pkg:golang/" + strings.ToLower(module) + "@" + strings.ReplaceAll(version, "+", "%2B")
}
