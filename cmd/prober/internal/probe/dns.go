package probe

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// dnsAction asks a name server.
type dnsAction struct {
	question *dns.Msg
	server   string
	guarded  bool // the server is named in the Touchpoint
}

// resolvConf says which name servers the system has.
const resolvConf = "/etc/resolv.conf"

func newDNS(from *v1alpha1.DNSProbe) (*dnsAction, error) {
	kind, known := dns.StringToType[cmp.Or(string(from.Type), "A")]
	if !known {
		return nil, fmt.Errorf("dns: there are no records of type %s", from.Type)
	}
	d := &dnsAction{question: new(dns.Msg), server: string(from.Server), guarded: from.Server != ""}
	d.question.SetQuestion(dns.Fqdn(string(from.Name)), kind)
	d.question.SetEdns0(1232, false)
	if d.server == "" {
		system, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil || len(system.Servers) == 0 {
			return nil, fmt.Errorf("dns: the prober's system names no name server: give one in dns.server")
		}
		d.server = net.JoinHostPort(system.Servers[0], system.Port)
	}
	return d, nil
}

func (d *dnsAction) make(r *run, a *answer) *failure {
	reply, failed := d.ask(r, a, "udp")
	if failed == nil && reply.Truncated {
		reply, failed = d.ask(r, a, "tcp")
	}
	if failed != nil {
		return failed
	}
	a.status = reply.Rcode
	if reply.Rcode != dns.RcodeSuccess {
		return failf(ReasonDNS, "the name server answers %s", dns.RcodeToString[reply.Rcode])
	}
	for _, record := range reply.Answer {
		if record.Header().Rrtype == d.question.Question[0].Qtype {
			a.answers = append(a.answers, strings.TrimPrefix(record.String(), record.Header().String()))
		}
	}
	slices.Sort(a.answers)
	a.body = []byte(strings.Join(a.answers, "\n"))
	if len(a.answers) == 0 {
		return failf(ReasonDNS, "there is no record of type %s", dns.TypeToString[d.question.Question[0].Qtype])
	}
	return nil
}

func (d *dnsAction) ask(r *run, a *answer, network string) (*dns.Msg, *failure) {
	client := r.probe.client
	guard := &client.Guard
	if !d.guarded {
		// The system's own name server may well be on this machine.
		guard = &anywhere
	}
	conn, failed := dial(r.ctx, client.dialer, guard, r.deadline, network, d.server, &a.phases)
	if failed != nil {
		return nil, failed
	}
	defer r.attend(conn)()
	begin := time.Now()
	question := d.question.Copy()
	question.Id = dns.Id()
	asking := dns.Client{Net: network, Timeout: time.Until(r.deadline)}
	reply, _, err := asking.ExchangeWithConn(question, &dns.Conn{Conn: conn})
	a.phases[PhaseFirstByte] += time.Since(begin)
	if err != nil {
		return nil, &failure{ReasonDNS, err}
	}
	return reply, nil
}
