// Command etcd is etcd's server and nothing else: the main package in etcd's own
// repository belongs to a module that cannot be fetched at a release.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
