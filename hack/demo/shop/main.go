// Shop is the demo's shop by itself: six pages with realistic latencies and
// failures, and an admin address that breaks and heals them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sojourn-dev/sojourn/hack/demo/storefront"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var options storefront.Options
	flag.StringVar(&options.Address, "address", "127.0.0.1:8080", "where customers and Prometheus come to")
	flag.StringVar(&options.AdminAddress, "admin-address", "127.0.0.1:8081", "where POST /break?page=checkout&mode=slow (or down) and POST /heal go to")
	flag.Uint64Var(&options.Seed, "seed", 1, "what decides all chance: the same seed, the same visits")
	shoppers := flag.Float64("shoppers", 0, "shoppers a second that the shop sends to itself")
	flag.Parse()
	shop, err := storefront.Start(options)
	if err != nil {
		return err
	}
	defer shop.Close()
	fmt.Printf("shop   %s\nadmin  %s\n", shop.URL, shop.AdminURL)
	if *shoppers > 0 {
		storefront.Visit(ctx, shop.URL, *shoppers, options.Seed)
	}
	<-ctx.Done()
	return nil
}
