// Package zk is the store in a ZooKeeper ensemble: it implements store.Store on go-zookeeper/zk v1.0.4 and works around that client's faults, each of
// which turns a short trouble of one server into a long one of ours. The work-arounds, and the tests that show them, are listed in DESIGN.md.
//
// A Store keeps trying for ever: Open needs no server, calls made while none is there fail with store.ErrUnavailable after a time, watches
// go on when one is back.
package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
)

// Store is a part of an ensemble's tree opened as a store.Store. It is safe for concurrent use.
type Store struct {
	root    string // "/popdns"; "" for the ensemble's own root
	o       Options
	acl     []gozk.ACL
	control *link
	bulk    bulk
	armed   armed
	turns   chan struct{} // of the Watch calls that read
	done    chan struct{}
	closing sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the tree below root ("/popdns") of the ensemble with the given servers ("host:port"; without a port 2181). It does not wait for a
// connection and fails only for arguments that can't be right. Host names are looked up anew at every connection; a DNS server's own control
// plane is better named by addresses.
func Open(servers []string, root string, o Options) (*Store, error) {
	if len(servers) == 0 {
		return nil, errors.New("open ZooKeeper store: no servers")
	}
	root = strings.Trim(root, "/")
	if err := store.CheckPath(root); err != nil {
		return nil, fmt.Errorf("open ZooKeeper store: root: %w", err)
	}
	if root != "" {
		root = "/" + root
	}
	o = o.withDefaults()
	s := &Store{root: root, o: o, acl: accessList(o.Auth), done: make(chan struct{})}
	s.bulk.s = s
	s.turns = make(chan struct{}, maxWatchReads)
	s.armed.paths = make(map[string]watching)
	s.control = newLink(servers, o)
	return s, nil
}

// accessList is what every created node gets: with credentials all may read and their owner may do all, without everybody may do all.
func accessList(auth string) []gozk.ACL {
	if auth == "" {
		return gozk.WorldACL(gozk.PermAll)
	}
	return slices.Concat(gozk.WorldACL(gozk.PermRead), gozk.AuthACL(gozk.PermAll))
}

// full returns the path as the ensemble knows it.
func (s *Store) full(path string) string {
	if path == "" {
		if s.root == "" {
			return "/"
		}
		return s.root
	}
	return s.root + "/" + path
}

// Get implements store.Reader.
func (s *Store) Get(ctx context.Context, path string) (store.Node, error) {
	if err := store.CheckPath(path); err != nil {
		return store.Node{}, fmt.Errorf("get: %w", err)
	}
	n, err := call(ctx, s.control, func(c *gozk.Conn) (store.Node, error) {
		data, stat, err := c.Get(s.full(path))
		if err != nil {
			return store.Node{}, err
		}
		return toNode(c, data, stat), nil
	})
	if err != nil {
		return store.Node{}, fmt.Errorf("get %q: %w", path, readError(err))
	}
	return n, nil
}

func toNode(c *gozk.Conn, data []byte, stat *gozk.Stat) store.Node {
	return store.Node{
		Data: data, Version: stat.Version, Created: stat.Czxid, Modified: stat.Mzxid,
		Ephemeral: stat.EphemeralOwner != 0,
		Mine:      stat.EphemeralOwner != 0 && stat.EphemeralOwner == c.SessionID(),
	}
}

// Children implements store.Reader.
func (s *Store) Children(ctx context.Context, path string) ([]string, error) {
	if err := store.CheckPath(path); err != nil {
		return nil, fmt.Errorf("children: %w", err)
	}
	names, err := call(ctx, s.control, func(c *gozk.Conn) ([]string, error) {
		names, _, err := c.Children(s.full(path))
		return names, err
	})
	if err != nil {
		return nil, fmt.Errorf("children of %q: %w", path, readError(err))
	}
	slices.Sort(names)
	return names, nil
}

// Status implements store.Store.
func (s *Store) Status() store.Status { return s.control.status() }

// Close implements store.Store. It tells the ensemble that the session ends; when no server can be reached, the session and its ephemeral nodes last
// until its timeout. It takes up to three seconds then.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.done)
		s.bulk.close()
		s.control.close()
	})
	return nil
}

// Defaults of Options.
const (
	DefaultSessionTimeout   = 10 * time.Second
	DefaultRequestTimeout   = 5 * time.Second
	DefaultDialTimeout      = 2 * time.Second
	DefaultHandshakeTimeout = 2500 * time.Millisecond
	DefaultBulkIdle         = 30 * time.Second
	minWatchdog             = 30 * time.Second
)
