package zk

import (
	"crypto/tls"
	"time"
)

// Options are the settings of a Store; zero values mean the defaults. None of them is ever logged.
type Options struct {
	// Auth is "user:password" of ZooKeeper's digest scheme. It travels in clear text unless TLS is set. With it every node that is created may be read
	// by everybody and changed by this user only. A wrong password is no error until something is refused with store.ErrNoAuth.
	Auth string
	// TLS is asked before each connection, so that certificates can be exchanged meanwhile. Its error is that of the connection. nil: plain TCP.
	TLS func() (*tls.Config, error)

	SessionTimeout   time.Duration // how long the ensemble keeps a silent session; the server bounds it to 2–20 of its ticks unless configured
	RequestTimeout   time.Duration // of one request, on top of the context; commits above 64 KiB get six times that
	DialTimeout      time.Duration // of one TCP (and TLS) connection
	HandshakeTimeout time.Duration // of one session handshake; the client library would wait for 6.7 session timeouts
	Watchdog         time.Duration // without a session for so long, the client is made anew; default the longer of 3 sessions and 30 s
	BulkIdle         time.Duration // how long the second connection, of large commits, is kept unused

	// Logf gets one line per change of the connection and the library's complaints, not more than one of a kind and reason in a minute. nil: no log.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&o.SessionTimeout, DefaultSessionTimeout)
	set(&o.RequestTimeout, DefaultRequestTimeout)
	set(&o.DialTimeout, DefaultDialTimeout)
	set(&o.HandshakeTimeout, DefaultHandshakeTimeout)
	set(&o.Watchdog, max(3*o.SessionTimeout, minWatchdog))
	set(&o.BulkIdle, DefaultBulkIdle)
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}
