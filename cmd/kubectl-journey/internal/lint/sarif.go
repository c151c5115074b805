package lint

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"slices"
)

// WriteSARIF writes findings as SARIF 2.1.0, by which code hosts annotate changes.
func WriteSARIF(out io.Writer, findings []Finding, version string) error {
	reasons := []string{}
	for _, finding := range findings {
		if !slices.Contains(reasons, finding.Reason) {
			reasons = append(reasons, finding.Reason)
		}
	}
	slices.Sort(reasons)
	rules := make([]sarifRule, len(reasons))
	for i, reason := range reasons {
		rules[i] = sarifRule{ID: reason}
	}
	results := make([]sarifResult, len(findings))
	for i, finding := range findings {
		text := finding.Message
		if finding.Object != "" {
			text = finding.Object + ": " + text
		}
		if finding.Hint != "" {
			text += ". Hint: " + finding.Hint
		}
		results[i] = sarifResult{
			RuleID: finding.Reason, RuleIndex: slices.Index(reasons, finding.Reason), Level: finding.Level, Message: sarifText{text},
			Locations: []sarifLocation{{sarifPlace{ArtifactLocation: sarifArtifact{(&url.URL{Path: filepath.ToSlash(finding.File)}).String()}}}},
		}
		if finding.Line > 0 {
			results[i].Locations[0].PhysicalLocation.Region = &sarifRegion{finding.Line, max(1, finding.Column)}
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{
			Tool:       sarifTool{sarifDriver{Name: "kubectl journey lint", Version: version, Rules: rules}},
			ColumnKind: "unicodeCodePoints",
			Results:    results,
		}},
	})
}

// The parts of SARIF 2.1.0 that are used.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     Level           `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPlace `json:"physicalLocation"`
	}
	sarifPlace struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
)
