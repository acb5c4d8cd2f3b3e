package zk

import (
	"reflect"
	"sync"
	"unsafe"
)

// libraryWatchers calls f with the library's private map of the channels that wait for watches, under its lock.
func libraryWatchers(s *Store, f func(watchers reflect.Value)) {
	conn := reflect.ValueOf(s.control.state().conn).Elem()
	lock := (*sync.Mutex)(unsafe.Pointer(conn.FieldByName("watchersLock").UnsafeAddr()))
	lock.Lock()
	defer lock.Unlock()
	field := conn.FieldByName("watchers")
	f(reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem())
}

// SilenceWatches makes all watches of s deaf, without a word: what a failed SetWatches does.
func SilenceWatches(s *Store) { libraryWatchers(s, reflect.Value.Clear) }

// LogLostWatches writes the line that the library then writes.
func LogLostWatches(s *Store) {
	s.control.log.Printf("Failed to set previous watches: %v", "a test")
}

// ArmedChannels returns how many channels the library keeps for watches of path.
func ArmedChannels(s *Store, path string) (n int) {
	libraryWatchers(s, func(watchers reflect.Value) {
		for _, key := range watchers.MapKeys() {
			if key.FieldByName("path").String() == s.full(path) {
				n += watchers.MapIndex(key).Len()
			}
		}
	})
	return n
}

// LostWatches is how often the library said that it could not set its watches again.
func LostWatches(s *Store) int { return s.control.state().lost }
