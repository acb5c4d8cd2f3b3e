package zk

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// repeatAfter is how long a line of the library is not repeated: it writes one for each failed connection, every second.
const repeatAfter = time.Minute

// logger passes the library's complaints on. It also listens to them: that a watch could not be set again after a reconnection is told nowhere else
// (go-zookeeper issue 83), and the watch is silent for ever.
type logger struct {
	logf        func(format string, args ...any)
	watchesLost func()

	mu   sync.Mutex
	last map[string]time.Time // by kind; the library has about twenty formats, and connections fail for few reasons
}

func newLogger(logf func(string, ...any), watchesLost func()) *logger {
	return &logger{logf: logf, watchesLost: watchesLost, last: make(map[string]time.Time)}
}

// Printf implements gozk.Logger.
func (l *logger) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "Failed to set previous watches") {
		l.watchesLost()
	}
	if l.due(kind(format, args)) {
		l.now(format, args...)
	}
}

// now logs without regard to what was logged before.
func (l *logger) now(format string, args ...any) { l.logf("zookeeper: "+format, args...) }

// kind is what lines have in common that tell the same: the format and the reasons, without addresses and times. Another reason is news, as a
// certificate is that has expired on a server that refused connections a moment ago.
func kind(format string, args []any) string {
	var k strings.Builder
	k.WriteString(format)
	for _, a := range args {
		err, ok := a.(error)
		if !ok {
			continue
		}
		for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
			err = next
		}
		fmt.Fprintf(&k, " %T", err)
		if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // it is the innermost
			k.WriteString(errno.Error())
		}
	}
	return k.String()
}

func (l *logger) due(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.last[kind]) < repeatAfter {
		return false
	}
	l.last[kind] = time.Now()
	return true
}
