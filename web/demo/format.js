// Numbers, sizes and times for people.

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const fixed = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function bytes(count) {
    let unit = 0;
    let value = count;
    while (value >= 1000 && unit < UNITS.length - 1) {
        value /= 1000;
        unit += 1;
    }
    return `${unit ? fixed.format(value) : number.format(value)} ${UNITS[unit]}`;
}

export function amount(value, unit) {
    return unit === 'bytes' ? bytes(value) : `${number.format(value)}${unit ? ` ${unit}` : ''}`;
}

export function count(value, one, many) {
    return `${value.toLocaleString('en')} ${value === 1 ? one : many}`;
}

// Of a progress whose ratio is known, rounded down: 99.9 % is not the end.
export function hundredths({ current, total }) {
    return Math.min(Math.floor((100 * current) / total), 100);
}

export function percent(progress) {
    return `${hundredths(progress)} %`;
}

export function share(ratio) {
    return `${number.format(ratio * 100)} %`;
}

export function duration(seconds) {
    if (seconds < 10) {
        return `${fixed.format(seconds)} s`;
    }
    if (seconds < 90) {
        return `${Math.round(seconds)} s`;
    }
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? `${minutes} min` : `${number.format(minutes / 60)} h`;
}

export function left(seconds) {
    return seconds < 1.5 ? 'about a second left' : `about ${seconds < 90 ? `${Math.ceil(seconds)} s` : duration(seconds)} left`;
}

export function time(text) {
    return clock.format(new Date(text));
}
