package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sojourn-dev/sojourn/hack/demo/story"
)

// seenByPeople has kubectl journey show the broken checkout, in the terminal and on every
// page that its pages lead to.
func seenByPeople(ctx context.Context, d *story.Demo) error {
	var errs []error
	for arguments, wanted := range map[string][]string{
		"map online-purchase -n shop --width 120": {"网上购物", "★ Checkout", "CES easy", "Trend 7d"},
		"status -n shop": {"checkout", "page", "customer"},
		"map -A -o name": {"journey.sojourn.dev/online-purchase\n"},
	} {
		output, err := journey(ctx, d, strings.Fields(arguments)...).Output()
		if err != nil {
			errs = append(errs, fmt.Errorf("kubectl journey %s: %w", arguments, err))
		}
		for _, text := range wanted {
			if !strings.Contains(string(output), text) {
				errs = append(errs, fmt.Errorf("kubectl journey %s says nothing of %q:\n%s", arguments, text, output))
			}
		}
	}
	return errors.Join(append(errs, pages(ctx, d))...)
}

func journey(ctx context.Context, d *story.Demo, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(d.Stack.Programs, "kubectl-journey"), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.Stack.Cluster.Kubeconfig(), "SOJOURN_GATEWAY_TOKEN="+d.Stack.Gateway.ReadToken, "NO_COLOR=1")
	return command
}

var (
	address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	link    = regexp.MustCompile(`href="(/[^"#]*)"`)
)

// pages follows every link of the pages, from the first one on.
func pages(ctx context.Context, d *story.Demo) error {
	ctx, stop := context.WithCancel(ctx)
	command := journey(ctx, d, "ui", "-n", "shop")
	said, err := command.StdoutPipe()
	if err == nil {
		command.Stderr = command.Stdout
		err = command.Start()
	}
	if err != nil {
		stop()
		return err
	}
	defer func() {
		stop()
		_ = command.Wait() // it was killed
	}()
	var root string
	for lines := bufio.NewScanner(said); root == "" && lines.Scan(); {
		root = address.FindString(lines.Text())
	}
	if root == "" {
		return errors.New("kubectl journey ui does not say where its pages are")
	}
	go io.Copy(io.Discard, said) // ends with the program
	var errs []error
	seen, all := []string{"/"}, &bytes.Buffer{}
	for i := 0; i < len(seen) && i < 100; i++ {
		page, err := get(ctx, root+seen[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.WriteString(page)
		for _, found := range link.FindAllStringSubmatch(page, -1) {
			if !slices.Contains(seen, found[1]) && !strings.HasPrefix(found[1], "/live") {
				seen = append(seen, found[1])
			}
		}
	}
	if len(seen) < 12 {
		errs = append(errs, fmt.Errorf("there are only the pages %v: ten touchpoints, a journey and a list were expected", seen))
	}
	for _, text := range []string{"网上购物", "Checkout · 结账", "Breached", "<svg"} {
		if !strings.Contains(all.String(), text) {
			errs = append(errs, fmt.Errorf("no page says %q", text))
		}
	}
	return errors.Join(errs...)
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(response.Header.Get("Content-Security-Policy"), "default-src 'none'") && strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		return "", fmt.Errorf("%s: %s, Content-Security-Policy %q", url, response.Status, response.Header.Get("Content-Security-Policy"))
	}
	return string(page), nil
}
