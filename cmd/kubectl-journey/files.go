package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/files"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// fileFlags are those of commands that read objects from files. Those about rules are the
// manager's own.
type fileFlags struct {
	recursive    bool
	namespace    string
	allowMissing bool
	operator     controllers.Options
}

func (f *fileFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.BoolVarP(&f.recursive, "recursive", "R", false, "look into the folders below too")
	flags.BoolVar(&f.allowMissing, "allow-missing", false, "the files are only a part of what there is: note what they refer to and lack, rather than fail")
	flags.StringVar(&f.operator.EnforceNamespaceLabel, "enforce-namespace-label", "", "`label` that the manager is told to bind users' PromQL by")
	flags.StringToStringVar(&f.operator.RuleLabels, "rule-labels", nil, "labels that the manager is told to put on rule objects, such as release=prometheus")
	flags.StringVar(&f.operator.RulesNamespace, "rules-namespace", "sojourn-system", "`namespace` of rules as ConfigMaps")
	flags.StringToStringVar(&f.operator.ConfigMapLabels, "rules-configmap-label", map[string]string{"prometheus_rule": "1"}, "labels for those ConfigMaps")
}

// addNamespace adds -n to a command that asks no cluster.
func (f *fileFlags) addNamespace(c *cobra.Command) {
	c.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "`namespace` of objects that name none")
}

// check reads files and says what there is to say of them.
func (f *fileFlags) check(ctx context.Context, names []string, in io.Reader, form publish.Form) (*files.Set, *lint.Report, error) {
	if err := f.operator.Validate(); err != nil {
		return nil, nil, err
	}
	if os.Getenv("GOGC") == "" {
		// The process ends soon: memory is cheaper than collecting garbage.
		debug.SetGCPercent(400)
	}
	set, err := files.Read(names, f.recursive, in)
	if err != nil {
		if errors.Is(err, files.ErrNothing) {
			err = fmt.Errorf("%w; name other files, or folders with -R", err)
		}
		return nil, nil, err
	}
	report, err := lint.Check(ctx, set, lint.Options{
		Namespace: cmp.Or(f.namespace, "default"), AllowMissing: f.allowMissing, Operator: f.operator, Form: form,
	})
	return set, report, err
}

// needFiles wants at least one file, and says what one is.
func needFiles(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("name the files or folders to read, or - for standard input")
	}
	return nil
}

// currentNamespace is the namespace of the kubeconfig's context, or what -n says.
func currentNamespace(kube *genericclioptions.ConfigFlags) (string, error) {
	namespace, _, err := kube.ToRawKubeConfigLoader().Namespace()
	if clientcmd.IsEmptyConfig(err) {
		return "default", nil
	}
	return namespace, err
}
