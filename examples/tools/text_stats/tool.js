// A Caxton tool in JavaScript: words, sentences and the most frequent words of a text.
import { log } from 'caxton:tool/host@0.1.0';

const inputSchema = {
  type: 'object',
  properties: {
    text: { type: 'string', description: 'What to count' },
    top: { type: 'integer', minimum: 0, maximum: 100, description: 'How many words; default 5' },
  },
  required: ['text'],
  additionalProperties: false,
};

export function describe() {
  return JSON.stringify({
    name: 'text_stats',
    description: 'Counts characters, words and sentences, and names the most frequent words.',
    inputSchema,
  });
}

export function call(input) {
  const { text, top = 5 } = JSON.parse(input);
  if (typeof text !== 'string') {
    throw JSON.stringify({ code: 'bad_request', message: 'text must be a string' });
  }
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu) ?? [];
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const frequent = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, top);
  log(1, `${words.length} words`);
  return JSON.stringify({
    characters: [...text].length,
    words: words.length,
    sentences: (text.match(/[^.!?…]+[.!?…]+|[^.!?…]*\S[^.!?…]*$/gu) ?? []).length,
    frequent: frequent.map(([word, count]) => ({ word, count })),
  });
}
