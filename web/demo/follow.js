// Follows a feed for as long as the page is open, and tells each event to hear(name, data, cursor). An EventSource comes back by itself when its connection
// is lost, but gives up for good at any answer that is no stream: 502 from a proxy, 401 with a dead cookie, 204 after the session's end. Then renew() may get
// this browser a living cookie, and another EventSource reads on from where the last one was. Returns a function that ends it.
export function follow(url, hear, renew = async () => {}) {
    let source, timer, left = false, cursor = '', wait = 1000;
    const renewed = () => (navigator.locks ? navigator.locks.request('bowline', renew) : renew());    // one tab after the other: all get the same cookie
    const open = () => {
        const address = new URL(url, location);
        if (cursor) {
            address.searchParams.set('after', cursor);
        }
        source = new EventSource(address);
        source.onerror = () => {
            hear('lost', {}, cursor);
            if (source.readyState === EventSource.CLOSED) {
                again();
            }
        };
        for (const name of ['task', 'output', 'reset', 'live', 'session']) {
            source.addEventListener(name, (event) => {
                const data = JSON.parse(event.data);
                cursor = event.lastEventId;
                wait = name === 'live' ? 1000 : wait;
                hear(name, data, cursor);
                if (name === 'session' && data.state === 'ended') {
                    cursor = '';
                    hear('reset', {}, cursor);                               // what it showed is not for whoever comes next
                    again();
                }
            });
        }
    };
    const again = () => {
        source.close();
        timer = setTimeout(() => renewed().catch(() => {}).then(() => left || open()), wait * (1 + Math.random()));
        wait = Math.min(2 * wait, 30000);
    };
    open();
    return () => {
        left = true;
        clearTimeout(timer);
        source.close();
    };
}
