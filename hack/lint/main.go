// Command lint checks Sojourn's code with staticcheck and, under api/, with the
// Kubernetes API linter. It is a tool of go vet, which caches what it finds:
//
//	go -C hack/lint build -o /tmp/sojourn-lint .
//	go vet -vettool=/tmp/sojourn-lint ./...
package main

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"slices"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/unitchecker"
	"honnef.co/go/tools/analysis/lint"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
	"sigs.k8s.io/kube-api-linter/pkg/analysis/registry"
	_ "sigs.k8s.io/kube-api-linter/pkg/registration"
)

const apiPackages = "github.com/sojourn-dev/sojourn/api"

func main() {
	var analyzers []*analysis.Analyzer
	for _, checks := range [][]*lint.Analyzer{staticcheck.Analyzers, simple.Analyzers, stylecheck.Analyzers} {
		for _, check := range checks {
			analyzers = append(analyzers, tuned(check.Analyzer, everywhere))
		}
	}
	linters, err := registry.DefaultRegistry().InitializeLinters(apiLinters, apiLintersConfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, linter := range linters {
		analyzers = append(analyzers, tuned(linter, apiOnly))
	}
	unitchecker.Main(analyzers...)
}

func everywhere(string) bool { return true }

// apiOnly chooses the packages of API types, api/<version>.
func apiOnly(pkg string) bool { return path.Dir(pkg) == apiPackages }

// tuned makes an analyzer run only where it should, say its name with what it
// finds, and be silent about generated files and what is accepted.
func tuned(analyzer *analysis.Analyzer, where func(pkg string) bool) *analysis.Analyzer {
	run := analyzer.Run
	analyzer.Run = func(pass *analysis.Pass) (any, error) {
		if !where(pass.Pkg.Path()) {
			return nil, nil
		}
		report := pass.Report
		pass.Report = func(found analysis.Diagnostic) {
			isThere := func(file *ast.File) bool { return file.FileStart <= found.Pos && found.Pos < file.FileEnd }
			if at := slices.IndexFunc(pass.Files, isThere); at >= 0 && ast.IsGenerated(pass.Files[at]) {
				return
			}
			if fine := accepted[analyzer.Name]; fine != nil && fine.MatchString(found.Message) {
				return
			}
			found.Message += " (" + analyzer.Name + ")"
			report(found)
		}
		return run(pass)
	}
	return analyzer
}
