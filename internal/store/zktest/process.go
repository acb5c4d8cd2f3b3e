package zktest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

const logName = "server.log"

// jars is the class path. zookeeper.jar names most of what it needs itself, except a binding for its log.
const jars = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-log4j12.jar:/usr/share/java/log4j-1.2.jar"

// secureJars is what else it does not name and TLS needs.
const secureJars = "/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar"

// The short tick makes short sessions possible (the server accepts no less than two ticks) and lets them expire on time. The backlog's default of 50
// turns a thousand clients that come at once into seconds of SYN repeats.
const config = `tickTime=200
minSessionTimeout=400
maxSessionTimeout=60000
initLimit=10
syncLimit=5
dataDir=%s
clientPortAddress=127.0.0.1
clientPort=%d
clientPortListenBacklog=4096
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr,mntr,stat,cons,wchs,wchp,dump
`

const logConfig = `log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %-5p %c{1} %m%n
`

// configure writes what the server reads at its start.
func (s *Server) configure() error {
	for name, text := range map[string]string{
		"zoo.cfg":          fmt.Sprintf(config, filepath.Join(s.dir, "data"), s.port) + s.member.config,
		"log4j.properties": logConfig,
		"data/myid":        fmt.Sprintln(s.member.id), // read by members of an ensemble only
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// process is a running Java virtual machine.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func startProcess(dir string, log io.Writer) (*process, error) {
	file, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("java", //nolint:gosec,noctx // constant arguments but for our directory; it ends with kill
		"-Xms16m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dzookeeper.preAllocSize=4096", "-Dzookeeper.extendedTypesEnabled=true",
		"-cp", dir+":"+jars+":"+secureJars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg"))
	cmd.Dir = dir
	cmd.Stdout = io.Writer(file)
	if log != nil {
		cmd.Stdout = io.MultiWriter(file, log)
	}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = dieWithParent()

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer func() { _ = file.Close() }()
		// The kernel ends the child with the thread that made it, so that thread must live as long (golang.org/issue/27505).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, or it tells its reason in the log
		}
	}()
	return p, <-started
}

// kill ends the process and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended already
	<-p.done
}
