package zk

import (
	"strings"
	"sync"
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
	last map[string]time.Time // by format; the library has about twenty
}

func newLogger(logf func(string, ...any), watchesLost func()) *logger {
	return &logger{logf: logf, watchesLost: watchesLost, last: make(map[string]time.Time)}
}

// Printf implements gozk.Logger.
func (l *logger) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "Failed to set previous watches") {
		l.watchesLost()
	}
	if l.due(format) {
		l.now(format, args...)
	}
}

// now logs without regard to what was logged before.
func (l *logger) now(format string, args ...any) { l.logf("zookeeper: "+format, args...) }

func (l *logger) due(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.last[format]) < repeatAfter {
		return false
	}
	l.last[format] = time.Now()
	return true
}
