// Command etcd is the server as its module publishes it: its own main package has no name that a build keeps.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
